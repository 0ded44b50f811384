-- Generated from the declarations in spoolhouse.events.builtin; do not edit. To regenerate:
--     spoolhouse migrate --print > config/schema.sql
--
-- Names are unqualified: run it in the database of your choice. For a database that exists already, use
-- `spoolhouse migrate`, which compares and applies what is missing.

CREATE TABLE IF NOT EXISTS `mastra_admin_traces_hourly`
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
ENGINE = AggregatingMergeTree
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
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `mastra_admin_traces`
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
ENGINE = ReplacingMergeTree(`recorded_at`)
PARTITION BY toYYYYMM(`start_time`)
ORDER BY (`project_id`, `start_time`, `trace_id`)
TTL toDateTime(`start_time`) + toIntervalDay(90)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS `mastra_admin_traces_hourly_feed` TO `mastra_admin_traces_hourly`
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
FROM `mastra_admin_traces`
WHERE `end_time` IS NOT NULL AND `uncounted` IS NULL
GROUP BY `project_id`, `deployment_id`, `hour`, `status`, `batch_id`
COMMENT 'spoolhouse 5019bcf91d6fcfcb';

CREATE VIEW IF NOT EXISTS `mastra_admin_traces_hourly_stats`
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
    FROM `mastra_admin_traces_hourly`
    GROUP BY `project_id`, `deployment_id`, `hour`, `status`
)
WINDOW same AS (PARTITION BY `project_id`, `deployment_id`, `hour`)
COMMENT 'spoolhouse a172554579095b4f';

CREATE TABLE IF NOT EXISTS `mastra_admin_spans_hourly`
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime('UTC'),
    `kind` Enum8('internal' = 0, 'server' = 1, 'client' = 2, 'producer' = 3, 'consumer' = 4),
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
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(`hour`)
ORDER BY (`project_id`, `deployment_id`, `hour`, `kind`, `status`, `batch_id`)
TTL toDateTime(`hour`) + toIntervalDay(730),
    toDateTime(`last_ingested_at`) + toIntervalDay(30)
    GROUP BY `project_id`, `deployment_id`, `hour`, `kind`, `status`
    SET `batch_id` = any(`batch_id`),
        `last_ingested_at` = max(`last_ingested_at`),
        `lines` = sum(`lines`),
        `duration_ms_count` = sum(`duration_ms_count`),
        `duration_ms_sum` = sum(`duration_ms_sum`),
        `duration_ms_min` = min(`duration_ms_min`),
        `duration_ms_max` = max(`duration_ms_max`),
        `duration_ms_quantiles` = quantilesBFloat16MergeState(0.5, 0.95, 0.99)(`duration_ms_quantiles`)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `mastra_admin_spans_hourly_models_figures`
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime('UTC'),
    `model` LowCardinality(String),
    `provider` LowCardinality(String),
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2),
    `batch_id` LowCardinality(String),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `lines` SimpleAggregateFunction(sum, UInt64),
    `total_input_tokens` SimpleAggregateFunction(sum, Int128),
    `total_output_tokens` SimpleAggregateFunction(sum, Int128),
    `total_cost_usd` SimpleAggregateFunction(sum, Float64),
    `duration_ms_count` SimpleAggregateFunction(sum, UInt64),
    `duration_ms_sum` SimpleAggregateFunction(sum, Float64),
    `duration_ms_min` SimpleAggregateFunction(min, Nullable(Float64)),
    `duration_ms_max` SimpleAggregateFunction(max, Nullable(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(`hour`)
ORDER BY (`project_id`, `deployment_id`, `hour`, `model`, `provider`, `status`, `batch_id`)
TTL toDateTime(`hour`) + toIntervalDay(730),
    toDateTime(`last_ingested_at`) + toIntervalDay(30)
    GROUP BY `project_id`, `deployment_id`, `hour`, `model`, `provider`, `status`
    SET `batch_id` = any(`batch_id`),
        `last_ingested_at` = max(`last_ingested_at`),
        `lines` = sum(`lines`),
        `total_input_tokens` = sum(`total_input_tokens`),
        `total_output_tokens` = sum(`total_output_tokens`),
        `total_cost_usd` = sum(`total_cost_usd`),
        `duration_ms_count` = sum(`duration_ms_count`),
        `duration_ms_sum` = sum(`duration_ms_sum`),
        `duration_ms_min` = min(`duration_ms_min`),
        `duration_ms_max` = max(`duration_ms_max`)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `mastra_admin_spans`
(
    `span_id` String CODEC(ZSTD(1)),
    `trace_id` String CODEC(ZSTD(1)),
    `parent_span_id` Nullable(String) CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `name` LowCardinality(String),
    `kind` Enum8('internal' = 0, 'server' = 1, 'client' = 2, 'producer' = 3, 'consumer' = 4) DEFAULT 'internal',
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2) DEFAULT 'unset',
    `start_time` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `end_time` Nullable(DateTime64(3, 'UTC')) CODEC(Delta(8), ZSTD(1)),
    `duration_ms` Nullable(Float64),
    `attributes` String DEFAULT '{}' CODEC(ZSTD(1)),
    `events` String DEFAULT '[]' CODEC(ZSTD(1)),
    `span_type` LowCardinality(String),
    `model` LowCardinality(String),
    `provider` LowCardinality(String),
    `input_tokens` Nullable(Int64),
    `output_tokens` Nullable(Int64),
    `cost_usd` Nullable(Float64),
    `recorded_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `extra` String DEFAULT '{}' CODEC(ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `batch_id` LowCardinality(String),
    INDEX `idx_span_id` `span_id` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_trace_id` `trace_id` TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX `idx_model` `model` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_batch_id` `batch_id` TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(`recorded_at`)
PARTITION BY toYYYYMM(`start_time`)
ORDER BY (`project_id`, `start_time`, `trace_id`, `span_id`)
TTL toDateTime(`start_time`) + toIntervalDay(90)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS `mastra_admin_spans_hourly_feed` TO `mastra_admin_spans_hourly`
AS SELECT
    `project_id`,
    `deployment_id`,
    toStartOfHour(`start_time`) AS `hour`,
    `kind`,
    `status`,
    `batch_id`,
    max(`ingested_at`) AS `last_ingested_at`,
    count() AS `lines`,
    count(`duration_ms`) AS `duration_ms_count`,
    sum(toFloat64(ifNull(`duration_ms`, 0))) AS `duration_ms_sum`,
    min(`duration_ms`) AS `duration_ms_min`,
    max(`duration_ms`) AS `duration_ms_max`,
    quantilesBFloat16State(0.5, 0.95, 0.99)(`duration_ms`) AS `duration_ms_quantiles`
FROM `mastra_admin_spans`
WHERE `end_time` IS NOT NULL
GROUP BY `project_id`, `deployment_id`, `hour`, `kind`, `status`, `batch_id`
COMMENT 'spoolhouse b63dfa6066e63e02';

CREATE MATERIALIZED VIEW IF NOT EXISTS `mastra_admin_spans_hourly_models_figures_feed` TO `mastra_admin_spans_hourly_models_figures`
AS SELECT
    `project_id`,
    `deployment_id`,
    toStartOfHour(`start_time`) AS `hour`,
    `model`,
    `provider`,
    `status`,
    `batch_id`,
    max(`ingested_at`) AS `last_ingested_at`,
    count() AS `lines`,
    sum(toInt128(ifNull(`input_tokens`, 0))) AS `total_input_tokens`,
    sum(toInt128(ifNull(`output_tokens`, 0))) AS `total_output_tokens`,
    sum(toFloat64(ifNull(`cost_usd`, 0))) AS `total_cost_usd`,
    count(`duration_ms`) AS `duration_ms_count`,
    sum(toFloat64(ifNull(`duration_ms`, 0))) AS `duration_ms_sum`,
    min(`duration_ms`) AS `duration_ms_min`,
    max(`duration_ms`) AS `duration_ms_max`
FROM `mastra_admin_spans`
WHERE `end_time` IS NOT NULL
GROUP BY `project_id`, `deployment_id`, `hour`, `model`, `provider`, `status`, `batch_id`
COMMENT 'spoolhouse b4d0500f4df9e657';

CREATE VIEW IF NOT EXISTS `mastra_admin_spans_hourly_stats`
AS SELECT
    `project_id`,
    `deployment_id`,
    `hour`,
    `kind`,
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
        `kind`,
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
    FROM `mastra_admin_spans_hourly`
    GROUP BY `project_id`, `deployment_id`, `hour`, `kind`, `status`
)
WINDOW same AS (PARTITION BY `project_id`, `deployment_id`, `hour`, `kind`)
COMMENT 'spoolhouse 674b39eb29f03c07';

CREATE VIEW IF NOT EXISTS `mastra_admin_spans_hourly_models`
AS SELECT
    `project_id`,
    `deployment_id`,
    `hour`,
    `model`,
    `provider`,
    `status`,
    `count`,
    `total_input_tokens`,
    `total_output_tokens`,
    `total_cost_usd`,
    `measured_count`,
    `total_duration_ms`,
    `avg_duration_ms`,
    `min_duration_ms`,
    `max_duration_ms`,
    `error_count`,
    sum(`error_count`) OVER same / sum(`count`) OVER same AS `error_rate`
FROM
(
    SELECT
        `project_id`,
        `deployment_id`,
        `hour`,
        `model`,
        `provider`,
        `status`,
        sum(`lines`) AS `count`,
        sum(`total_input_tokens`) AS `total_input_tokens`,
        sum(`total_output_tokens`) AS `total_output_tokens`,
        sum(`total_cost_usd`) AS `total_cost_usd`,
        sum(`duration_ms_count`) AS `measured_count`,
        sum(`duration_ms_sum`) AS `total_duration_ms`,
        sum(`duration_ms_sum`) / nullIf(sum(`duration_ms_count`), 0) AS `avg_duration_ms`,
        min(`duration_ms_min`) AS `min_duration_ms`,
        max(`duration_ms_max`) AS `max_duration_ms`,
        if(`status` = 'error', sum(`lines`), 0) AS `error_count`
    FROM `mastra_admin_spans_hourly_models_figures`
    GROUP BY `project_id`, `deployment_id`, `hour`, `model`, `provider`, `status`
)
WINDOW same AS (PARTITION BY `project_id`, `deployment_id`, `hour`, `model`, `provider`)
COMMENT 'spoolhouse 3bb43b76b1d2aff4';

CREATE TABLE IF NOT EXISTS `mastra_admin_logs_hourly`
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime('UTC'),
    `level` Enum8('debug' = 0, 'info' = 1, 'warn' = 2, 'error' = 3, 'fatal' = 4),
    `batch_id` LowCardinality(String),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `lines` SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(`hour`)
ORDER BY (`project_id`, `deployment_id`, `hour`, `level`, `batch_id`)
TTL toDateTime(`hour`) + toIntervalDay(730),
    toDateTime(`last_ingested_at`) + toIntervalDay(30)
    GROUP BY `project_id`, `deployment_id`, `hour`, `level`
    SET `batch_id` = any(`batch_id`),
        `last_ingested_at` = max(`last_ingested_at`),
        `lines` = sum(`lines`)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `mastra_admin_logs`
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
ENGINE = ReplacingMergeTree(`recorded_at`)
PARTITION BY toYYYYMM(`timestamp`)
ORDER BY (`project_id`, `timestamp`, `id`)
TTL toDateTime(`timestamp`) + toIntervalDay(30)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS `mastra_admin_logs_hourly_feed` TO `mastra_admin_logs_hourly`
AS SELECT
    `project_id`,
    `deployment_id`,
    toStartOfHour(`timestamp`) AS `hour`,
    `level`,
    `batch_id`,
    max(`ingested_at`) AS `last_ingested_at`,
    count() AS `lines`
FROM `mastra_admin_logs`
GROUP BY `project_id`, `deployment_id`, `hour`, `level`, `batch_id`
COMMENT 'spoolhouse 3898440616139e6c';

CREATE VIEW IF NOT EXISTS `mastra_admin_logs_hourly_stats`
AS SELECT
    `project_id`,
    `deployment_id`,
    `hour`,
    `level`,
    sum(`lines`) AS `count`
FROM `mastra_admin_logs_hourly`
GROUP BY `project_id`, `deployment_id`, `hour`, `level`
COMMENT 'spoolhouse 76f22d4058b0e61a';

CREATE TABLE IF NOT EXISTS `mastra_admin_metrics_hourly`
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `name` LowCardinality(String),
    `hour` DateTime('UTC'),
    `batch_id` LowCardinality(String),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `lines` SimpleAggregateFunction(sum, UInt64),
    `value_count` SimpleAggregateFunction(sum, UInt64),
    `value_sum` SimpleAggregateFunction(sum, Float64),
    `value_min` SimpleAggregateFunction(min, Float64),
    `value_max` SimpleAggregateFunction(max, Float64),
    `value_quantiles` AggregateFunction(quantilesBFloat16(0.5, 0.95, 0.99), Float64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(`hour`)
ORDER BY (`project_id`, `deployment_id`, `name`, `hour`, `batch_id`)
TTL toDateTime(`hour`) + toIntervalDay(730),
    toDateTime(`last_ingested_at`) + toIntervalDay(30)
    GROUP BY `project_id`, `deployment_id`, `name`, `hour`
    SET `batch_id` = any(`batch_id`),
        `last_ingested_at` = max(`last_ingested_at`),
        `lines` = sum(`lines`),
        `value_count` = sum(`value_count`),
        `value_sum` = sum(`value_sum`),
        `value_min` = min(`value_min`),
        `value_max` = max(`value_max`),
        `value_quantiles` = quantilesBFloat16MergeState(0.5, 0.95, 0.99)(`value_quantiles`)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `mastra_admin_metrics`
(
    `id` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `name` LowCardinality(String),
    `type` Enum8('counter' = 0, 'gauge' = 1, 'histogram' = 2) DEFAULT 'gauge',
    `value` Float64,
    `unit` Nullable(String) CODEC(ZSTD(1)),
    `timestamp` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `labels` String DEFAULT '{}' CODEC(ZSTD(1)),
    `organization_id` LowCardinality(String),
    `environment` LowCardinality(String),
    `service_name` LowCardinality(String),
    `bucket_boundaries` Array(Float64),
    `bucket_counts` Array(UInt64),
    `recorded_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `extra` String DEFAULT '{}' CODEC(ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `batch_id` LowCardinality(String),
    INDEX `idx_id` `id` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_batch_id` `batch_id` TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(`recorded_at`)
PARTITION BY toYYYYMM(`timestamp`)
ORDER BY (`project_id`, `name`, `timestamp`, `id`)
TTL toDateTime(`timestamp`) + toIntervalDay(90)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS `mastra_admin_metrics_hourly_feed` TO `mastra_admin_metrics_hourly`
AS SELECT
    `project_id`,
    `deployment_id`,
    `name`,
    toStartOfHour(`timestamp`) AS `hour`,
    `batch_id`,
    max(`ingested_at`) AS `last_ingested_at`,
    count() AS `lines`,
    count(`value`) AS `value_count`,
    sum(toFloat64(`value`)) AS `value_sum`,
    min(`value`) AS `value_min`,
    max(`value`) AS `value_max`,
    quantilesBFloat16State(0.5, 0.95, 0.99)(`value`) AS `value_quantiles`
FROM `mastra_admin_metrics`
GROUP BY `project_id`, `deployment_id`, `name`, `hour`, `batch_id`
COMMENT 'spoolhouse a094875f6d5251b1';

CREATE VIEW IF NOT EXISTS `mastra_admin_metrics_hourly_stats`
AS SELECT
    `project_id`,
    `deployment_id`,
    `name`,
    `hour`,
    sum(`lines`) AS `count`,
    sum(`value_count`) AS `measured_count`,
    sum(`value_sum`) AS `sum_value`,
    sum(`value_sum`) / nullIf(sum(`value_count`), 0) AS `avg_value`,
    min(`value_min`) AS `min_value`,
    max(`value_max`) AS `max_value`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`value_max`))), toFloat64(min(`value_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`value_quantiles`))[1] AS `p50_value`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`value_max`))), toFloat64(min(`value_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`value_quantiles`))[2] AS `p95_value`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`value_max`))), toFloat64(min(`value_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`value_quantiles`))[3] AS `p99_value`
FROM `mastra_admin_metrics_hourly`
GROUP BY `project_id`, `deployment_id`, `name`, `hour`
COMMENT 'spoolhouse a3998d4ddda6bd68';

CREATE TABLE IF NOT EXISTS `mastra_admin_scores_hourly`
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `name` LowCardinality(String),
    `hour` DateTime('UTC'),
    `batch_id` LowCardinality(String),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `lines` SimpleAggregateFunction(sum, UInt64),
    `value_count` SimpleAggregateFunction(sum, UInt64),
    `value_sum` SimpleAggregateFunction(sum, Float64),
    `value_min` SimpleAggregateFunction(min, Float64),
    `value_max` SimpleAggregateFunction(max, Float64),
    `value_quantiles` AggregateFunction(quantilesBFloat16(0.5, 0.95, 0.99), Float64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(`hour`)
ORDER BY (`project_id`, `deployment_id`, `name`, `hour`, `batch_id`)
TTL toDateTime(`hour`) + toIntervalDay(730),
    toDateTime(`last_ingested_at`) + toIntervalDay(30)
    GROUP BY `project_id`, `deployment_id`, `name`, `hour`
    SET `batch_id` = any(`batch_id`),
        `last_ingested_at` = max(`last_ingested_at`),
        `lines` = sum(`lines`),
        `value_count` = sum(`value_count`),
        `value_sum` = sum(`value_sum`),
        `value_min` = min(`value_min`),
        `value_max` = max(`value_max`),
        `value_quantiles` = quantilesBFloat16MergeState(0.5, 0.95, 0.99)(`value_quantiles`)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `mastra_admin_scores`
(
    `id` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `trace_id` Nullable(String) CODEC(ZSTD(1)),
    `span_id` Nullable(String) CODEC(ZSTD(1)),
    `name` LowCardinality(String),
    `value` Float64,
    `normalized_value` Nullable(Float64),
    `comment` Nullable(String) CODEC(ZSTD(1)),
    `experiment` LowCardinality(String),
    `organization_id` LowCardinality(String),
    `user_id` String CODEC(ZSTD(1)),
    `environment` LowCardinality(String),
    `service_name` LowCardinality(String),
    `timestamp` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `metadata` String DEFAULT '{}' CODEC(ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `extra` String DEFAULT '{}' CODEC(ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `batch_id` LowCardinality(String),
    INDEX `idx_id` `id` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_trace_id` `trace_id` TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX `idx_span_id` `span_id` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_experiment` `experiment` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_batch_id` `batch_id` TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(`recorded_at`)
PARTITION BY toYYYYMM(`timestamp`)
ORDER BY (`project_id`, `timestamp`, `id`)
TTL toDateTime(`timestamp`) + toIntervalDay(365)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS `mastra_admin_scores_hourly_feed` TO `mastra_admin_scores_hourly`
AS SELECT
    `project_id`,
    `deployment_id`,
    `name`,
    toStartOfHour(`timestamp`) AS `hour`,
    `batch_id`,
    max(`ingested_at`) AS `last_ingested_at`,
    count() AS `lines`,
    count(`value`) AS `value_count`,
    sum(toFloat64(`value`)) AS `value_sum`,
    min(`value`) AS `value_min`,
    max(`value`) AS `value_max`,
    quantilesBFloat16State(0.5, 0.95, 0.99)(`value`) AS `value_quantiles`
FROM `mastra_admin_scores`
GROUP BY `project_id`, `deployment_id`, `name`, `hour`, `batch_id`
COMMENT 'spoolhouse 65265559e786c99d';

CREATE VIEW IF NOT EXISTS `mastra_admin_scores_hourly_stats`
AS SELECT
    `project_id`,
    `deployment_id`,
    `name`,
    `hour`,
    sum(`lines`) AS `count`,
    sum(`value_count`) AS `measured_count`,
    sum(`value_sum`) AS `sum_value`,
    sum(`value_sum`) / nullIf(sum(`value_count`), 0) AS `avg_value`,
    min(`value_min`) AS `min_value`,
    max(`value_max`) AS `max_value`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`value_max`))), toFloat64(min(`value_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`value_quantiles`))[1] AS `p50_value`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`value_max`))), toFloat64(min(`value_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`value_quantiles`))[2] AS `p95_value`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`value_max`))), toFloat64(min(`value_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`value_quantiles`))[3] AS `p99_value`
FROM `mastra_admin_scores_hourly`
GROUP BY `project_id`, `deployment_id`, `name`, `hour`
COMMENT 'spoolhouse 7fc18ab78e9e1733';

CREATE TABLE IF NOT EXISTS `mastra_admin_feedback_hourly`
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `feedback_type` LowCardinality(String),
    `hour` DateTime('UTC'),
    `source` LowCardinality(String),
    `batch_id` LowCardinality(String),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `lines` SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(`hour`)
ORDER BY (`project_id`, `deployment_id`, `feedback_type`, `hour`, `source`, `batch_id`)
TTL toDateTime(`hour`) + toIntervalDay(730),
    toDateTime(`last_ingested_at`) + toIntervalDay(30)
    GROUP BY `project_id`, `deployment_id`, `feedback_type`, `hour`, `source`
    SET `batch_id` = any(`batch_id`),
        `last_ingested_at` = max(`last_ingested_at`),
        `lines` = sum(`lines`)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `mastra_admin_feedback`
(
    `id` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `trace_id` Nullable(String) CODEC(ZSTD(1)),
    `span_id` Nullable(String) CODEC(ZSTD(1)),
    `source` LowCardinality(String),
    `feedback_type` LowCardinality(String),
    `value` String CODEC(ZSTD(1)),
    `value_number` Nullable(Float64),
    `comment` Nullable(String) CODEC(ZSTD(1)),
    `experiment` LowCardinality(String),
    `organization_id` LowCardinality(String),
    `user_id` String CODEC(ZSTD(1)),
    `environment` LowCardinality(String),
    `service_name` LowCardinality(String),
    `timestamp` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `metadata` String DEFAULT '{}' CODEC(ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `extra` String DEFAULT '{}' CODEC(ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `batch_id` LowCardinality(String),
    INDEX `idx_id` `id` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_trace_id` `trace_id` TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX `idx_span_id` `span_id` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_experiment` `experiment` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_batch_id` `batch_id` TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(`recorded_at`)
PARTITION BY toYYYYMM(`timestamp`)
ORDER BY (`project_id`, `timestamp`, `id`)
TTL toDateTime(`timestamp`) + toIntervalDay(365)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS `mastra_admin_feedback_hourly_feed` TO `mastra_admin_feedback_hourly`
AS SELECT
    `project_id`,
    `deployment_id`,
    `feedback_type`,
    toStartOfHour(`timestamp`) AS `hour`,
    `source`,
    `batch_id`,
    max(`ingested_at`) AS `last_ingested_at`,
    count() AS `lines`
FROM `mastra_admin_feedback`
GROUP BY `project_id`, `deployment_id`, `feedback_type`, `hour`, `source`, `batch_id`
COMMENT 'spoolhouse 364a2c6dc2f48897';

CREATE VIEW IF NOT EXISTS `mastra_admin_feedback_hourly_stats`
AS SELECT
    `project_id`,
    `deployment_id`,
    `feedback_type`,
    `hour`,
    `source`,
    sum(`lines`) AS `count`
FROM `mastra_admin_feedback_hourly`
GROUP BY `project_id`, `deployment_id`, `feedback_type`, `hour`, `source`
COMMENT 'spoolhouse e5d306805971f9e6';

CREATE TABLE IF NOT EXISTS `mastra_admin_hourly_metrics_figures`
(
    `project_id` String,
    `hour` DateTime('UTC'),
    `model` LowCardinality(Nullable(String)),
    `event_type` Enum8('prompt_call' = 1, 'tool_call' = 2, 'agent_step' = 3, 'error' = 4, 'assertion_failed' = 5, 'hallucination_detected' = 6, 'cost_threshold_exceeded' = 7, 'performance_alert' = 8),
    `status` Nullable(Enum8('success' = 1, 'error' = 2, 'timeout' = 3, 'assertion_failed' = 4, 'warning' = 5)),
    `batch_id` LowCardinality(String),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `lines` SimpleAggregateFunction(sum, UInt64),
    `total_tokens_input` SimpleAggregateFunction(sum, Int128),
    `total_tokens_output` SimpleAggregateFunction(sum, Int128),
    `total_cost_usd` SimpleAggregateFunction(sum, Float64),
    `latency_ms_count` SimpleAggregateFunction(sum, UInt64),
    `latency_ms_sum` SimpleAggregateFunction(sum, Float64),
    `latency_ms_min` SimpleAggregateFunction(min, Nullable(Float64)),
    `latency_ms_max` SimpleAggregateFunction(max, Nullable(Float64)),
    `latency_ms_quantiles` AggregateFunction(quantilesBFloat16(0.5, 0.95, 0.99), Nullable(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(`hour`)
ORDER BY (`project_id`, `hour`, `model`, `event_type`, `status`, `batch_id`)
TTL toDateTime(`hour`) + toIntervalDay(730),
    toDateTime(`last_ingested_at`) + toIntervalDay(30)
    GROUP BY `project_id`, `hour`, `model`, `event_type`, `status`
    SET `batch_id` = any(`batch_id`),
        `last_ingested_at` = max(`last_ingested_at`),
        `lines` = sum(`lines`),
        `total_tokens_input` = sum(`total_tokens_input`),
        `total_tokens_output` = sum(`total_tokens_output`),
        `total_cost_usd` = sum(`total_cost_usd`),
        `latency_ms_count` = sum(`latency_ms_count`),
        `latency_ms_sum` = sum(`latency_ms_sum`),
        `latency_ms_min` = min(`latency_ms_min`),
        `latency_ms_max` = max(`latency_ms_max`),
        `latency_ms_quantiles` = quantilesBFloat16MergeState(0.5, 0.95, 0.99)(`latency_ms_quantiles`)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000, allow_nullable_key = 1;

CREATE TABLE IF NOT EXISTS `mastra_admin_daily_metrics_figures`
(
    `project_id` String,
    `day` Date,
    `batch_id` LowCardinality(String),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `lines` SimpleAggregateFunction(sum, UInt64),
    `successful_requests` SimpleAggregateFunction(sum, UInt64),
    `failed_requests` SimpleAggregateFunction(sum, UInt64),
    `total_tokens_input` SimpleAggregateFunction(sum, Int128),
    `total_tokens_output` SimpleAggregateFunction(sum, Int128),
    `total_cost_usd` SimpleAggregateFunction(sum, Float64),
    `unique_models` AggregateFunction(uniq, Nullable(String)),
    `latency_ms_count` SimpleAggregateFunction(sum, UInt64),
    `latency_ms_sum` SimpleAggregateFunction(sum, Float64),
    `latency_ms_min` SimpleAggregateFunction(min, Nullable(Float64)),
    `latency_ms_max` SimpleAggregateFunction(max, Nullable(Float64)),
    `latency_ms_quantiles` AggregateFunction(quantilesBFloat16(0.5, 0.95, 0.99), Nullable(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(`day`)
ORDER BY (`project_id`, `day`, `batch_id`)
TTL toDateTime(`day`) + toIntervalDay(730),
    toDateTime(`last_ingested_at`) + toIntervalDay(30)
    GROUP BY `project_id`, `day`
    SET `batch_id` = any(`batch_id`),
        `last_ingested_at` = max(`last_ingested_at`),
        `lines` = sum(`lines`),
        `successful_requests` = sum(`successful_requests`),
        `failed_requests` = sum(`failed_requests`),
        `total_tokens_input` = sum(`total_tokens_input`),
        `total_tokens_output` = sum(`total_tokens_output`),
        `total_cost_usd` = sum(`total_cost_usd`),
        `unique_models` = uniqMergeState(`unique_models`),
        `latency_ms_count` = sum(`latency_ms_count`),
        `latency_ms_sum` = sum(`latency_ms_sum`),
        `latency_ms_min` = min(`latency_ms_min`),
        `latency_ms_max` = max(`latency_ms_max`),
        `latency_ms_quantiles` = quantilesBFloat16MergeState(0.5, 0.95, 0.99)(`latency_ms_quantiles`)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `mastra_admin_project_summary_figures`
(
    `project_id` String,
    `day` Date,
    `batch_id` LowCardinality(String),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `lines` SimpleAggregateFunction(sum, UInt64),
    `prompt_calls` SimpleAggregateFunction(sum, UInt64),
    `errors` SimpleAggregateFunction(sum, UInt64),
    `successful_events` SimpleAggregateFunction(sum, UInt64),
    `total_cost` SimpleAggregateFunction(sum, Float64),
    `first_event_time` SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    `last_event_time` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `latency_ms_count` SimpleAggregateFunction(sum, UInt64),
    `latency_ms_sum` SimpleAggregateFunction(sum, Float64),
    `latency_ms_min` SimpleAggregateFunction(min, Nullable(Float64)),
    `latency_ms_max` SimpleAggregateFunction(max, Nullable(Float64)),
    `latency_ms_quantiles` AggregateFunction(quantilesBFloat16(0.5, 0.95, 0.99), Nullable(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(`day`)
ORDER BY (`project_id`, `day`, `batch_id`)
TTL toDateTime(`day`) + toIntervalDay(730),
    toDateTime(`last_ingested_at`) + toIntervalDay(30)
    GROUP BY `project_id`, `day`
    SET `batch_id` = any(`batch_id`),
        `last_ingested_at` = max(`last_ingested_at`),
        `lines` = sum(`lines`),
        `prompt_calls` = sum(`prompt_calls`),
        `errors` = sum(`errors`),
        `successful_events` = sum(`successful_events`),
        `total_cost` = sum(`total_cost`),
        `first_event_time` = min(`first_event_time`),
        `last_event_time` = max(`last_event_time`),
        `latency_ms_count` = sum(`latency_ms_count`),
        `latency_ms_sum` = sum(`latency_ms_sum`),
        `latency_ms_min` = min(`latency_ms_min`),
        `latency_ms_max` = max(`latency_ms_max`),
        `latency_ms_quantiles` = quantilesBFloat16MergeState(0.5, 0.95, 0.99)(`latency_ms_quantiles`)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `mastra_admin_events`
(
    `event_id` String CODEC(ZSTD(1)),
    `project_id` String CODEC(ZSTD(1)),
    `run_id` String CODEC(ZSTD(1)),
    `timestamp` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `user_id` Nullable(String) CODEC(ZSTD(1)),
    `tags` Array(String),
    `release` Nullable(String) CODEC(ZSTD(1)),
    `env` Enum8('production' = 1, 'staging' = 2, 'development' = 3) DEFAULT 'production',
    `client_hostname` Nullable(String) CODEC(ZSTD(1)),
    `client_sdk_version` Nullable(String) CODEC(ZSTD(1)),
    `client_platform` Nullable(String) CODEC(ZSTD(1)),
    `event_type` Enum8('prompt_call' = 1, 'tool_call' = 2, 'agent_step' = 3, 'error' = 4, 'assertion_failed' = 5, 'hallucination_detected' = 6, 'cost_threshold_exceeded' = 7, 'performance_alert' = 8),
    `prompt` Nullable(String) CODEC(ZSTD(1)),
    `prompt_template_id` Nullable(String) CODEC(ZSTD(1)),
    `model` LowCardinality(Nullable(String)),
    `model_version` Nullable(String) CODEC(ZSTD(1)),
    `tokens_input` Nullable(Int64),
    `tokens_output` Nullable(Int64),
    `cost_estimate_usd` Nullable(Float64),
    `response` Nullable(String) CODEC(ZSTD(1)),
    `response_metadata` Nullable(String) CODEC(ZSTD(1)),
    `latency_ms` Nullable(Float64),
    `status` Nullable(Enum8('success' = 1, 'error' = 2, 'timeout' = 3, 'assertion_failed' = 4, 'warning' = 5)),
    `error_message` Nullable(String) CODEC(ZSTD(1)),
    `error_type` Nullable(String) CODEC(ZSTD(1)),
    `error_code` Nullable(String) CODEC(ZSTD(1)),
    `error_stack` Nullable(String) CODEC(ZSTD(1)),
    `error_context` Nullable(String) CODEC(ZSTD(1)),
    `step_number` Nullable(Int32),
    `step_name` Nullable(String) CODEC(ZSTD(1)),
    `step_type` Nullable(Enum8('reasoning' = 1, 'tool_call' = 2, 'validation' = 3, 'output' = 4)),
    `step_input_data` Nullable(String) CODEC(ZSTD(1)),
    `step_output_data` Nullable(String) CODEC(ZSTD(1)),
    `step_reasoning` Nullable(String) CODEC(ZSTD(1)),
    `step_context` Nullable(String) CODEC(ZSTD(1)),
    `assertion_name` Nullable(String) CODEC(ZSTD(1)),
    `assertion_type` Nullable(Enum8('response_format' = 1, 'content_filter' = 2, 'safety_check' = 3, 'custom' = 4)),
    `assertion_expected` Nullable(String) CODEC(ZSTD(1)),
    `assertion_actual` Nullable(String) CODEC(ZSTD(1)),
    `assertion_severity` Nullable(Enum8('low' = 1, 'medium' = 2, 'high' = 3, 'critical' = 4)),
    `hallucination_detection_method` Nullable(Enum8('heuristic' = 1, 'model_ensemble' = 2, 'ground_truth_verification' = 3)),
    `hallucination_confidence_score` Nullable(Float64),
    `hallucination_flagged_content` Nullable(String) CODEC(ZSTD(1)),
    `hallucination_ground_truth` Nullable(String) CODEC(ZSTD(1)),
    `hallucination_recommendations` Array(String),
    `alert_type` Nullable(Enum8('cost_spike' = 1, 'latency_spike' = 2, 'error_rate_spike' = 3, 'token_limit' = 4)),
    `alert_threshold` Nullable(Float64),
    `alert_actual_value` Nullable(Float64),
    `alert_window_minutes` Nullable(Int32),
    `alert_affected_models` Array(String),
    `context` Nullable(String) CODEC(ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `extra` String DEFAULT '{}' CODEC(ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `batch_id` LowCardinality(String),
    INDEX `idx_event_id` `event_id` TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX `idx_run_id` `run_id` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_user_id` `user_id` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_model` `model` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_project_id_timestamp` (`project_id`, `timestamp`) TYPE minmax GRANULARITY 1,
    INDEX `idx_status` `status` TYPE set(0) GRANULARITY 1,
    INDEX `idx_event_type` `event_type` TYPE set(0) GRANULARITY 1,
    INDEX `idx_batch_id` `batch_id` TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(`recorded_at`)
PARTITION BY toYYYYMM(`timestamp`)
ORDER BY (`project_id`, `timestamp`, `event_id`)
TTL toDateTime(`timestamp`) + toIntervalDay(90)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS `mastra_admin_hourly_metrics_figures_feed` TO `mastra_admin_hourly_metrics_figures`
AS SELECT
    `project_id`,
    toStartOfHour(`timestamp`) AS `hour`,
    `model`,
    `event_type`,
    `status`,
    `batch_id`,
    max(`ingested_at`) AS `last_ingested_at`,
    count() AS `lines`,
    sum(toInt128(ifNull(`tokens_input`, 0))) AS `total_tokens_input`,
    sum(toInt128(ifNull(`tokens_output`, 0))) AS `total_tokens_output`,
    sum(toFloat64(ifNull(`cost_estimate_usd`, 0))) AS `total_cost_usd`,
    count(`latency_ms`) AS `latency_ms_count`,
    sum(toFloat64(ifNull(`latency_ms`, 0))) AS `latency_ms_sum`,
    min(`latency_ms`) AS `latency_ms_min`,
    max(`latency_ms`) AS `latency_ms_max`,
    quantilesBFloat16State(0.5, 0.95, 0.99)(`latency_ms`) AS `latency_ms_quantiles`
FROM `mastra_admin_events`
WHERE `event_type` IN ('prompt_call')
GROUP BY `project_id`, `hour`, `model`, `event_type`, `status`, `batch_id`
COMMENT 'spoolhouse a9afa139994d61d4';

CREATE MATERIALIZED VIEW IF NOT EXISTS `mastra_admin_daily_metrics_figures_feed` TO `mastra_admin_daily_metrics_figures`
AS SELECT
    `project_id`,
    toDate(`timestamp`) AS `day`,
    `batch_id`,
    max(`ingested_at`) AS `last_ingested_at`,
    count() AS `lines`,
    countIf(`status` IN ('success')) AS `successful_requests`,
    countIf(`status` IN ('error', 'timeout', 'assertion_failed')) AS `failed_requests`,
    sum(toInt128(ifNull(`tokens_input`, 0))) AS `total_tokens_input`,
    sum(toInt128(ifNull(`tokens_output`, 0))) AS `total_tokens_output`,
    sum(toFloat64(ifNull(`cost_estimate_usd`, 0))) AS `total_cost_usd`,
    uniqState(CAST(`model`, 'Nullable(String)')) AS `unique_models`,
    count(`latency_ms`) AS `latency_ms_count`,
    sum(toFloat64(ifNull(`latency_ms`, 0))) AS `latency_ms_sum`,
    min(`latency_ms`) AS `latency_ms_min`,
    max(`latency_ms`) AS `latency_ms_max`,
    quantilesBFloat16State(0.5, 0.95, 0.99)(`latency_ms`) AS `latency_ms_quantiles`
FROM `mastra_admin_events`
WHERE `event_type` IN ('prompt_call')
GROUP BY `project_id`, `day`, `batch_id`
COMMENT 'spoolhouse f672b3529802941c';

CREATE MATERIALIZED VIEW IF NOT EXISTS `mastra_admin_project_summary_figures_feed` TO `mastra_admin_project_summary_figures`
AS SELECT
    `project_id`,
    toDate(`timestamp`) AS `day`,
    `batch_id`,
    max(`ingested_at`) AS `last_ingested_at`,
    count() AS `lines`,
    countIf(`event_type` IN ('prompt_call')) AS `prompt_calls`,
    countIf(`status` IN ('error', 'timeout', 'assertion_failed')) AS `errors`,
    countIf(`status` IN ('success')) AS `successful_events`,
    sum(toFloat64(ifNull(`cost_estimate_usd`, 0))) AS `total_cost`,
    min(`timestamp`) AS `first_event_time`,
    max(`timestamp`) AS `last_event_time`,
    count(`latency_ms`) AS `latency_ms_count`,
    sum(toFloat64(ifNull(`latency_ms`, 0))) AS `latency_ms_sum`,
    min(`latency_ms`) AS `latency_ms_min`,
    max(`latency_ms`) AS `latency_ms_max`,
    quantilesBFloat16State(0.5, 0.95, 0.99)(`latency_ms`) AS `latency_ms_quantiles`
FROM `mastra_admin_events`
GROUP BY `project_id`, `day`, `batch_id`
COMMENT 'spoolhouse af755adc79893276';

CREATE VIEW IF NOT EXISTS `mastra_admin_hourly_metrics`
AS SELECT
    `project_id`,
    `hour`,
    `model`,
    `event_type`,
    `status`,
    sum(`lines`) AS `request_count`,
    sum(`total_tokens_input`) AS `total_tokens_input`,
    sum(`total_tokens_output`) AS `total_tokens_output`,
    sum(`total_cost_usd`) AS `total_cost_usd`,
    sum(`latency_ms_count`) AS `measured_count`,
    sum(`latency_ms_sum`) AS `total_latency_ms`,
    sum(`latency_ms_sum`) / nullIf(sum(`latency_ms_count`), 0) AS `avg_latency_ms`,
    min(`latency_ms_min`) AS `min_latency_ms`,
    max(`latency_ms_max`) AS `max_latency_ms`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`latency_ms_max`))), toFloat64(min(`latency_ms_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`latency_ms_quantiles`))[1] AS `p50_latency_ms`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`latency_ms_max`))), toFloat64(min(`latency_ms_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`latency_ms_quantiles`))[2] AS `p95_latency_ms`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`latency_ms_max`))), toFloat64(min(`latency_ms_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`latency_ms_quantiles`))[3] AS `p99_latency_ms`
FROM `mastra_admin_hourly_metrics_figures`
GROUP BY `project_id`, `hour`, `model`, `event_type`, `status`
COMMENT 'spoolhouse c700369993036faf';

CREATE VIEW IF NOT EXISTS `mastra_admin_daily_metrics`
AS SELECT
    `project_id`,
    `day`,
    sum(`lines`) AS `total_requests`,
    sum(`successful_requests`) AS `successful_requests`,
    sum(`failed_requests`) AS `failed_requests`,
    sum(`total_tokens_input`) AS `total_tokens_input`,
    sum(`total_tokens_output`) AS `total_tokens_output`,
    sum(`total_cost_usd`) AS `total_cost_usd`,
    uniqMerge(`unique_models`) AS `unique_models`,
    sum(`latency_ms_count`) AS `measured_count`,
    sum(`latency_ms_sum`) AS `total_latency_ms`,
    sum(`latency_ms_sum`) / nullIf(sum(`latency_ms_count`), 0) AS `avg_latency_ms`,
    min(`latency_ms_min`) AS `min_latency_ms`,
    max(`latency_ms_max`) AS `max_latency_ms`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`latency_ms_max`))), toFloat64(min(`latency_ms_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`latency_ms_quantiles`))[1] AS `p50_latency_ms`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`latency_ms_max`))), toFloat64(min(`latency_ms_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`latency_ms_quantiles`))[2] AS `p95_latency_ms`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`latency_ms_max`))), toFloat64(min(`latency_ms_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`latency_ms_quantiles`))[3] AS `p99_latency_ms`
FROM `mastra_admin_daily_metrics_figures`
GROUP BY `project_id`, `day`
COMMENT 'spoolhouse 4ba11c3bd3ab0b29';

CREATE VIEW IF NOT EXISTS `mastra_admin_project_summary`
AS SELECT
    `project_id`,
    sum(`lines`) AS `total_events`,
    sum(`prompt_calls`) AS `prompt_calls`,
    sum(`errors`) AS `errors`,
    sum(`successful_events`) AS `successful_events`,
    sum(`total_cost`) AS `total_cost`,
    min(`first_event_time`) AS `first_event_time`,
    max(`last_event_time`) AS `last_event_time`,
    sum(`latency_ms_count`) AS `measured_count`,
    sum(`latency_ms_sum`) AS `total_latency_ms`,
    sum(`latency_ms_sum`) / nullIf(sum(`latency_ms_count`), 0) AS `avg_latency`,
    min(`latency_ms_min`) AS `min_latency_ms`,
    max(`latency_ms_max`) AS `max_latency_ms`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`latency_ms_max`))), toFloat64(min(`latency_ms_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`latency_ms_quantiles`))[1] AS `p50_latency_ms`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`latency_ms_max`))), toFloat64(min(`latency_ms_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`latency_ms_quantiles`))[2] AS `p95_latency_ms`,
    arrayMap(q -> if(isFinite(q), greatest(least(q, toFloat64(max(`latency_ms_max`))), toFloat64(min(`latency_ms_min`))), NULL), quantilesBFloat16Merge(0.5, 0.95, 0.99)(`latency_ms_quantiles`))[3] AS `p99_latency_ms`
FROM `mastra_admin_project_summary_figures`
GROUP BY `project_id`
COMMENT 'spoolhouse a3318ae92c0bfbba';

CREATE TABLE IF NOT EXISTS `mastra_admin_tool_calls`
(
    `event_id` String CODEC(ZSTD(1)),
    `project_id` String CODEC(ZSTD(1)),
    `timestamp` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `position` Int32,
    `tool_name` LowCardinality(String),
    `tool_id` Nullable(String) CODEC(ZSTD(1)),
    `tool_input` String CODEC(ZSTD(1)),
    `tool_output` String CODEC(ZSTD(1)),
    `latency_ms` Nullable(Float64),
    `status` Nullable(Enum8('success' = 1, 'error' = 2, 'timeout' = 3, 'assertion_failed' = 4, 'warning' = 5)),
    `error_message` Nullable(String) CODEC(ZSTD(1)),
    `error_type` Nullable(String) CODEC(ZSTD(1)),
    `error_code` Nullable(String) CODEC(ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `extra` String DEFAULT '{}' CODEC(ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `batch_id` LowCardinality(String),
    INDEX `idx_event_id` `event_id` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_tool_name` `tool_name` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_batch_id` `batch_id` TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(`recorded_at`)
PARTITION BY toYYYYMM(`timestamp`)
ORDER BY (`project_id`, `timestamp`, `event_id`, `position`)
TTL toDateTime(`timestamp`) + toIntervalDay(90)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `mastra_admin_agent_steps`
(
    `event_id` String CODEC(ZSTD(1)),
    `project_id` String CODEC(ZSTD(1)),
    `run_id` String CODEC(ZSTD(1)),
    `timestamp` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `step_number` Int32,
    `step_name` String CODEC(ZSTD(1)),
    `step_type` Enum8('reasoning' = 1, 'tool_call' = 2, 'validation' = 3, 'output' = 4),
    `input_data` String CODEC(ZSTD(1)),
    `output_data` String CODEC(ZSTD(1)),
    `reasoning` Nullable(String) CODEC(ZSTD(1)),
    `context` Nullable(String) CODEC(ZSTD(1)),
    `latency_ms` Nullable(Float64),
    `status` Nullable(Enum8('success' = 1, 'error' = 2, 'timeout' = 3, 'assertion_failed' = 4, 'warning' = 5)),
    `error_message` Nullable(String) CODEC(ZSTD(1)),
    `error_type` Nullable(String) CODEC(ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `extra` String DEFAULT '{}' CODEC(ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `batch_id` LowCardinality(String),
    INDEX `idx_run_id` `run_id` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_step_number` `step_number` TYPE minmax GRANULARITY 1,
    INDEX `idx_batch_id` `batch_id` TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(`recorded_at`)
PARTITION BY toYYYYMM(`timestamp`)
ORDER BY (`project_id`, `timestamp`, `run_id`, `step_number`, `event_id`)
TTL toDateTime(`timestamp`) + toIntervalDay(90)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `mastra_admin_ledger`
(
    `file` String CODEC(ZSTD(1)),
    `inode` Int64,
    `claimed_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `batch` String CODEC(ZSTD(1)),
    `table_name` LowCardinality(String),
    `range_start` Int64,
    `range_end` Int64,
    `first_row` Int64,
    `row_count` Int64,
    `parts` String CODEC(ZSTD(1)),
    `shipped_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `batch_id` LowCardinality(String),
    INDEX `idx_batch` `batch` TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX `idx_batch_id` `batch_id` TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(`recorded_at`)
PARTITION BY toYYYYMM(`shipped_at`)
ORDER BY (`file`, `claimed_at`, `batch`, `range_start`)
TTL toDateTime(`shipped_at`) + toIntervalDay(730)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `mastra_admin_tombstones`
(
    `project_id` LowCardinality(String),
    `deleted` LowCardinality(String),
    `id` String CODEC(ZSTD(1)),
    `batches` Array(String),
    `deleted_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `batch_id` LowCardinality(String),
    INDEX `idx_batch_id` `batch_id` TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(`recorded_at`)
PARTITION BY toYYYYMM(`deleted_at`)
ORDER BY (`project_id`, `deleted`, `id`)
TTL toDateTime(`deleted_at`) + toIntervalDay(730)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;
