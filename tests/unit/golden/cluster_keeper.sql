-- Generated from the declarations in spoolhouse.events.builtin; do not edit. To regenerate:
--     spoolhouse migrate --print > config/schema.sql
--
-- Names are unqualified: run it in the database of your choice. For a database that exists already, use
-- `spoolhouse migrate`, which compares and applies what is missing.

CREATE DATABASE IF NOT EXISTS `d` ON CLUSTER `main`;

CREATE TABLE IF NOT EXISTS `d`.`p_local_traces_hourly` ON CLUSTER `main`
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime('UTC'),
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2),
    `batch_id` LowCardinality(String),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `lines` SimpleAggregateFunction(sum, UInt64),
    `duration_ms_count` SimpleAggregateFunction(sum, UInt64),
    `duration_ms_sum` SimpleAggregateFunction(sum, Float64),
    `duration_ms_min` SimpleAggregateFunction(min, Nullable(Float64)),
    `duration_ms_max` SimpleAggregateFunction(max, Nullable(Float64)),
    `duration_ms_quantiles` AggregateFunction(quantilesBFloat16(0.5, 0.95, 0.99), Nullable(Float64))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(`hour`)
ORDER BY (`project_id`, `deployment_id`, `hour`, `status`, `batch_id`)
TTL toDateTime(`hour`) + toIntervalDay(730),
    toDateTime(`last_ingested_at`) + toIntervalDay(30)
    GROUP BY `project_id`, `deployment_id`, `hour`, `status`
    SET `batch_id` = any(`batch_id`),
        `last_ingested_at` = max(`last_ingested_at`),
        `lines` = sum(`lines`),
        `duration_ms_count` = sum(`duration_ms_count`),
        `duration_ms_sum` = sum(`duration_ms_sum`),
        `duration_ms_min` = min(`duration_ms_min`),
        `duration_ms_max` = max(`duration_ms_max`),
        `duration_ms_quantiles` = quantilesBFloat16MergeState(0.5, 0.95, 0.99)(`duration_ms_quantiles`)
SETTINGS index_granularity = 8192, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS `d`.`p_local_traces` ON CLUSTER `main`
(
    `trace_id` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `name` LowCardinality(String),
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2) DEFAULT 'unset',
    `start_time` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `end_time` Nullable(DateTime64(3, 'UTC')) CODEC(Delta(8), ZSTD(1)),
    `duration_ms` Nullable(Float64),
    `input` String CODEC(ZSTD(1)),
    `output` String CODEC(ZSTD(1)),
    `metadata` String DEFAULT '{}' CODEC(ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `extra` String DEFAULT '{}' CODEC(ZSTD(1)),
    `uncounted` Nullable(Bool),
    `ingested_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `batch_id` LowCardinality(String),
    INDEX `idx_trace_id` `trace_id` TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX `idx_batch_id` `batch_id` TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', `recorded_at`)
PARTITION BY toYYYYMM(`start_time`)
ORDER BY (`project_id`, `start_time`, `trace_id`)
TTL toDateTime(`start_time`) + toIntervalDay(90)
SETTINGS index_granularity = 8192, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE MATERIALIZED VIEW IF NOT EXISTS `d`.`p_local_traces_hourly_feed` ON CLUSTER `main` TO `d`.`p_local_traces_hourly`
AS SELECT
    `project_id`,
    `deployment_id`,
    toStartOfHour(`start_time`) AS `hour`,
    `status`,
    `batch_id`,
    max(`ingested_at`) AS `last_ingested_at`,
    count() AS `lines`,
    count(`duration_ms`) AS `duration_ms_count`,
    sum(toFloat64(ifNull(`duration_ms`, 0))) AS `duration_ms_sum`,
    min(`duration_ms`) AS `duration_ms_min`,
    max(`duration_ms`) AS `duration_ms_max`,
    quantilesBFloat16State(0.5, 0.95, 0.99)(`duration_ms`) AS `duration_ms_quantiles`
FROM `d`.`p_local_traces`
WHERE `end_time` IS NOT NULL AND `uncounted` IS NULL
GROUP BY `project_id`, `deployment_id`, `hour`, `status`, `batch_id`
COMMENT 'spoolhouse 7a09084c0a06d7aa';

CREATE TABLE IF NOT EXISTS `d`.`p_traces` ON CLUSTER `main`
(
    `trace_id` String,
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `name` LowCardinality(String),
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2),
    `start_time` DateTime64(3, 'UTC'),
    `end_time` Nullable(DateTime64(3, 'UTC')),
    `duration_ms` Nullable(Float64),
    `input` String,
    `output` String,
    `metadata` String,
    `recorded_at` DateTime64(3, 'UTC'),
    `extra` String,
    `uncounted` Nullable(Bool),
    `ingested_at` DateTime64(3, 'UTC'),
    `batch_id` LowCardinality(String)
)
ENGINE = Distributed('main', 'd', 'p_local_traces', cityHash64(`trace_id`))
COMMENT 'spoolhouse 47f0ded73d8f303c';

CREATE TABLE IF NOT EXISTS `d`.`p_traces_hourly` ON CLUSTER `main`
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime('UTC'),
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2),
    `batch_id` LowCardinality(String),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `lines` SimpleAggregateFunction(sum, UInt64),
    `duration_ms_count` SimpleAggregateFunction(sum, UInt64),
    `duration_ms_sum` SimpleAggregateFunction(sum, Float64),
    `duration_ms_min` SimpleAggregateFunction(min, Nullable(Float64)),
    `duration_ms_max` SimpleAggregateFunction(max, Nullable(Float64)),
    `duration_ms_quantiles` AggregateFunction(quantilesBFloat16(0.5, 0.95, 0.99), Nullable(Float64))
)
ENGINE = Distributed('main', 'd', 'p_local_traces_hourly', rand())
COMMENT 'spoolhouse 6a708512282c3271';

CREATE VIEW IF NOT EXISTS `d`.`p_traces_hourly_stats` ON CLUSTER `main`
AS SELECT
    `project_id`,
    `deployment_id`,
    `hour`,
    `status`,
    `count`,
    `measured_count`,
    `total_duration_ms`,
    `avg_duration_ms`,
    `min_duration_ms`,
    `max_duration_ms`,
    `p50_duration_ms`,
    `p95_duration_ms`,
    `p99_duration_ms`,
    `error_count`,
    sum(`error_count`) OVER same / sum(`count`) OVER same AS `error_rate`
FROM
(
    SELECT
        `project_id`,
        `deployment_id`,
        `hour`,
        `status`,
        sum(`lines`) AS `count`,
        sum(`duration_ms_count`) AS `measured_count`,
        sum(`duration_ms_sum`) AS `total_duration_ms`,
        sum(`duration_ms_sum`) / nullIf(sum(`duration_ms_count`), 0) AS `avg_duration_ms`,
        min(`duration_ms_min`) AS `min_duration_ms`,
        max(`duration_ms_max`) AS `max_duration_ms`,
        arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`duration_ms_max`))), toFloat64(min(`duration_ms_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`duration_ms_quantiles`))[1] AS `p50_duration_ms`,
        arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`duration_ms_max`))), toFloat64(min(`duration_ms_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`duration_ms_quantiles`))[2] AS `p95_duration_ms`,
        arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`duration_ms_max`))), toFloat64(min(`duration_ms_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`duration_ms_quantiles`))[3] AS `p99_duration_ms`,
        if(`status` = 'error', sum(`lines`), 0) AS `error_count`
    FROM `d`.`p_traces_hourly`
    GROUP BY `project_id`, `deployment_id`, `hour`, `status`
)
WINDOW same AS (PARTITION BY `project_id`, `deployment_id`, `hour`)
COMMENT 'spoolhouse 8da26c14539dbb91';

CREATE TABLE IF NOT EXISTS `d`.`p_local_logs_hourly` ON CLUSTER `main`
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
TTL toDateTime(`hour`) + toIntervalDay(730),
    toDateTime(`last_ingested_at`) + toIntervalDay(30)
    GROUP BY `project_id`, `deployment_id`, `hour`, `level`
    SET `batch_id` = any(`batch_id`),
        `last_ingested_at` = max(`last_ingested_at`),
        `lines` = sum(`lines`)
SETTINGS index_granularity = 8192, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS `d`.`p_local_logs` ON CLUSTER `main`
(
    `id` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `trace_id` Nullable(String) CODEC(ZSTD(1)),
    `span_id` Nullable(String) CODEC(ZSTD(1)),
    `level` Enum8('debug' = 0, 'info' = 1, 'warn' = 2, 'error' = 3, 'fatal' = 4),
    `message` String CODEC(ZSTD(1)),
    `timestamp` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `attributes` String DEFAULT '{}' CODEC(ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `extra` String DEFAULT '{}' CODEC(ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `batch_id` LowCardinality(String),
    INDEX `idx_id` `id` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_trace_id` `trace_id` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_span_id` `span_id` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_batch_id` `batch_id` TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', `recorded_at`)
PARTITION BY toYYYYMM(`timestamp`)
ORDER BY (`project_id`, `timestamp`, `id`)
TTL toDateTime(`timestamp`) + toIntervalDay(30)
SETTINGS index_granularity = 8192, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE MATERIALIZED VIEW IF NOT EXISTS `d`.`p_local_logs_hourly_feed` ON CLUSTER `main` TO `d`.`p_local_logs_hourly`
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

CREATE TABLE IF NOT EXISTS `d`.`p_logs` ON CLUSTER `main`
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

CREATE TABLE IF NOT EXISTS `d`.`p_logs_hourly` ON CLUSTER `main`
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime('UTC'),
    `level` Enum8('debug' = 0, 'info' = 1, 'warn' = 2, 'error' = 3, 'fatal' = 4),
    `batch_id` LowCardinality(String),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `lines` SimpleAggregateFunction(sum, UInt64)
)
ENGINE = Distributed('main', 'd', 'p_local_logs_hourly', rand())
COMMENT 'spoolhouse c004aab3e9a73679';

CREATE VIEW IF NOT EXISTS `d`.`p_logs_hourly_stats` ON CLUSTER `main`
AS SELECT
    `project_id`,
    `deployment_id`,
    `hour`,
    `level`,
    sum(`lines`) AS `count`
FROM `d`.`p_logs_hourly`
GROUP BY `project_id`, `deployment_id`, `hour`, `level`
COMMENT 'spoolhouse cc7ed499159b48bd';
