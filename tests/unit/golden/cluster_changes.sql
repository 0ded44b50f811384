-- p_local_logs_hourly_v2: + table
CREATE TABLE IF NOT EXISTS `d`.`p_local_logs_hourly_v2` ON CLUSTER `main`
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime('UTC'),
    `level` Enum8('debug' = 0, 'info' = 1, 'warn' = 2, 'error' = 3, 'fatal' = 4),
    `batch_id` LowCardinality(String),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `lines` SimpleAggregateFunction(sum, UInt64)
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(`hour`)
ORDER BY (`project_id`, `deployment_id`, `hour`, `level`, `batch_id`)
TTL toDateTime(`hour`) + toIntervalDay(730)
SETTINGS index_granularity = 8192, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800
COMMENT 'spoolhouse: counts only some of the rows so far';

-- p_local_logs: + column id String
ALTER TABLE `d`.`p_local_logs` ON CLUSTER `main` ADD COLUMN IF NOT EXISTS `id` String CODEC(ZSTD(1));

-- p_local_logs: + index idx_id: bloom_filter(0.01) of id, for old rows in the background
ALTER TABLE `d`.`p_local_logs` ON CLUSTER `main` ADD INDEX IF NOT EXISTS `idx_id` `id` TYPE bloom_filter(0.01) GRANULARITY 1, MATERIALIZE INDEX `idx_id`;

-- p_local_logs: + index idx_trace_id: bloom_filter(0.01) of trace_id, for old rows in the background
ALTER TABLE `d`.`p_local_logs` ON CLUSTER `main` ADD INDEX IF NOT EXISTS `idx_trace_id` `trace_id` TYPE bloom_filter(0.01) GRANULARITY 1, MATERIALIZE INDEX `idx_trace_id`;

-- p_local_logs: + index idx_span_id: bloom_filter(0.01) of span_id, for old rows in the background
ALTER TABLE `d`.`p_local_logs` ON CLUSTER `main` ADD INDEX IF NOT EXISTS `idx_span_id` `span_id` TYPE bloom_filter(0.01) GRANULARITY 1, MATERIALIZE INDEX `idx_span_id`;

-- p_local_logs: + index idx_batch_id: bloom_filter(0.01) of batch_id, for old rows in the background
ALTER TABLE `d`.`p_local_logs` ON CLUSTER `main` ADD INDEX IF NOT EXISTS `idx_batch_id` `batch_id` TYPE bloom_filter(0.01) GRANULARITY 1, MATERIALIZE INDEX `idx_batch_id`;

-- p_local_logs: ~ TTL 30 days after timestamp, was 3
ALTER TABLE `d`.`p_local_logs` ON CLUSTER `main` MODIFY TTL toDateTime(`timestamp`) + toIntervalDay(30);

-- p_local_logs: ~ setting replicated_deduplication_window 10000, was 0
ALTER TABLE `d`.`p_local_logs` ON CLUSTER `main` MODIFY SETTING replicated_deduplication_window = 10000;

-- p_local_logs: ~ setting replicated_deduplication_window_seconds 604800, was 0
ALTER TABLE `d`.`p_local_logs` ON CLUSTER `main` MODIFY SETTING replicated_deduplication_window_seconds = 604800;

-- p_local_logs_hourly_v2_feed: + materialized view into p_local_logs_hourly_v2
CREATE MATERIALIZED VIEW IF NOT EXISTS `d`.`p_local_logs_hourly_v2_feed` ON CLUSTER `main` TO `d`.`p_local_logs_hourly_v2`
AS SELECT
    `project_id`,
    `deployment_id`,
    toStartOfHour(`timestamp`) AS `hour`,
    `level`,
    `batch_id`,
    max(`ingested_at`) AS `last_ingested_at`,
    count() AS `lines`
FROM `d`.`p_local_logs`
GROUP BY `project_id`, `deployment_id`, `hour`, `level`, `batch_id`
COMMENT 'spoolhouse 98d9d19d2f5cf8db';

-- p_logs: ~ table over all shards, another definition
CREATE OR REPLACE TABLE `d`.`p_logs` ON CLUSTER `main`
(
    `id` String,
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `trace_id` Nullable(String),
    `span_id` Nullable(String),
    `level` Enum8('debug' = 0, 'info' = 1, 'warn' = 2, 'error' = 3, 'fatal' = 4),
    `message` String,
    `timestamp` DateTime64(3, 'UTC'),
    `attributes` String,
    `recorded_at` DateTime64(3, 'UTC'),
    `extra` String,
    `ingested_at` DateTime64(3, 'UTC'),
    `batch_id` LowCardinality(String)
)
ENGINE = Distributed('main', 'd', 'p_local_logs', cityHash64(ifNull(`trace_id`, `id`)))
COMMENT 'spoolhouse 801c93b031b4ab2b';

-- p_logs_hourly_v2: ~ table over all shards, another definition
CREATE OR REPLACE TABLE `d`.`p_logs_hourly_v2` ON CLUSTER `main`
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime('UTC'),
    `level` Enum8('debug' = 0, 'info' = 1, 'warn' = 2, 'error' = 3, 'fatal' = 4),
    `batch_id` LowCardinality(String),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `lines` SimpleAggregateFunction(sum, UInt64)
)
ENGINE = Distributed('main', 'd', 'p_local_logs_hourly_v2', rand())
COMMENT 'spoolhouse b41ef3aa6355595a';

-- p_local_logs_hourly_v2: ~ rows of p_local_logs that it has not counted yet
INSERT INTO `d`.`p_local_logs_hourly_v2` (`project_id`, `deployment_id`, `hour`, `level`, `batch_id`, `last_ingested_at`, `lines`)
SETTINGS insert_deduplicate = 0, max_insert_threads = 1, min_insert_block_size_rows = 1073741824, min_insert_block_size_bytes = 0, optimize_on_insert = 0
SELECT
    `project_id`,
    `deployment_id`,
    toStartOfHour(`timestamp`) AS `hour`,
    `level`,
    `batch_id`,
    max(`ingested_at`) AS `last_ingested_at`,
    count() AS `lines`
FROM (SELECT * FROM `d`.`p_local_logs` WHERE 1 AND toDateTime(toStartOfHour(`timestamp`)) + toIntervalDay(729) > now() AND (_partition_id, `batch_id`) NOT IN (SELECT _partition_id, `batch_id` FROM `d`.`p_local_logs_hourly_v2`))
GROUP BY `project_id`, `deployment_id`, `hour`, `level`, `batch_id`;

-- p_local_logs_hourly_v2: ~ complete: batches are compacted once they are old
ALTER TABLE `d`.`p_local_logs_hourly_v2` MODIFY COMMENT '', MODIFY TTL toDateTime(`hour`) + toIntervalDay(730),
    toDateTime(`last_ingested_at`) + toIntervalDay(30)
    GROUP BY `project_id`, `deployment_id`, `hour`, `level`
    SET `batch_id` = any(`batch_id`),
        `last_ingested_at` = max(`last_ingested_at`),
        `lines` = sum(`lines`);

-- p_logs_hourly_stats: ~ view, another definition
CREATE OR REPLACE VIEW `d`.`p_logs_hourly_stats` ON CLUSTER `main`
AS SELECT
    `project_id`,
    `deployment_id`,
    `hour`,
    `level`,
    sum(`lines`) AS `count`
FROM `d`.`p_logs_hourly_v2`
GROUP BY `project_id`, `deployment_id`, `hour`, `level`
COMMENT 'spoolhouse 2ba42e91186703a9 v2';

-- p_local_logs_hourly_feed: - materialized view of an earlier version; its target stays
DROP VIEW IF EXISTS `d`.`p_local_logs_hourly_feed` ON CLUSTER `main`;

