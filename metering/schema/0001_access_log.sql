-- The access log: one column per field of AccessLogEvent, letter for letter, in its order.
--
-- Numbers are UInt64 throughout: the JSON reader wraps what does not fit a smaller type without a
-- word. Constraints refuse what defaults would otherwise fill in silently. The replacing engine is
-- the backstop of (stream, seq); money reads with FINAL or LIMIT 1 BY.
-- The projection answers "which seqs of a stream are there" without a scan of the log.
CREATE TABLE IF NOT EXISTS access_log $on_cluster
(
    v LowCardinality(String),
    stream LowCardinality(String),
    seq UInt64,
    kind Enum8('request' = 1, 'response_end' = 2, 'business' = 3, 'refusals' = 4, 'threshold' = 5, 'seal' = 6),
    admitted_at DateTime64(6, 'UTC'),
    finished_at DateTime64(6, 'UTC'),
    node LowCardinality(String),
    request_id String DEFAULT '',
    environment LowCardinality(String) DEFAULT '',
    organization_id LowCardinality(String) DEFAULT '',
    consumer_id LowCardinality(String) DEFAULT '',
    credential_id LowCardinality(String) DEFAULT '',
    subscription_id LowCardinality(String) DEFAULT '',
    plan_version_id LowCardinality(String) DEFAULT '',
    api LowCardinality(String) DEFAULT '',
    route LowCardinality(String) DEFAULT '',
    method LowCardinality(String) DEFAULT '',
    path_template LowCardinality(String) DEFAULT '',
    status UInt64 DEFAULT 0,
    upstream_status UInt64 DEFAULT 0,
    decision LowCardinality(String) DEFAULT '',
    charge Enum8('free' = 0, 'counted' = 1, 'billed' = 2) DEFAULT 'free',
    charge_reason LowCardinality(String) DEFAULT '',
    quantities Map(LowCardinality(String), Decimal(38, 12)) DEFAULT map(),
    request_bytes UInt64 DEFAULT 0,
    response_bytes UInt64 DEFAULT 0,
    latency_us UInt64 DEFAULT 0,
    upstream_latency_us UInt64 DEFAULT 0,
    client_ip String DEFAULT '',
    user_agent String DEFAULT '',
    trace_id String DEFAULT '',
    slice_no UInt64 DEFAULT 0,
    aborted Bool DEFAULT false,
    event_key String DEFAULT '',
    refusals Map(LowCardinality(String), UInt64) DEFAULT map(),
    meter LowCardinality(String) DEFAULT '',
    window_start Nullable(DateTime64(6, 'UTC')) DEFAULT NULL,
    window_end Nullable(DateTime64(6, 'UTC')) DEFAULT NULL,
    percent UInt64 DEFAULT 0,
    last_seq UInt64 DEFAULT 0,
    line_hash String DEFAULT '',
    complete_through Nullable(DateTime64(6, 'UTC')) DEFAULT NULL,
    open_streams Array(String) DEFAULT [],
    final Bool DEFAULT false,
    final_reason LowCardinality(String) DEFAULT '',
    llm_model LowCardinality(String) DEFAULT '',
    llm_prompt_tokens UInt64 DEFAULT 0,
    llm_completion_tokens UInt64 DEFAULT 0,
    txn_id String DEFAULT '',

    INDEX by_subscription subscription_id TYPE bloom_filter GRANULARITY 4,
    INDEX by_credential credential_id TYPE bloom_filter GRANULARITY 4,
    INDEX by_request request_id TYPE bloom_filter GRANULARITY 4,
    INDEX by_kind kind TYPE set(8) GRANULARITY 4,

    CONSTRAINT known_version CHECK v = 'v1',
    CONSTRAINT identified CHECK stream != '' AND seq > 0 AND node != '',
    CONSTRAINT timed CHECK admitted_at > toDateTime64('1970-01-02', 6, 'UTC'),
    CONSTRAINT environment_known CHECK kind = 'seal' OR environment != '',
    CONSTRAINT billed_has_owner CHECK charge != 'billed' OR environment != 'live' OR organization_id != '',
    CONSTRAINT seal_complete CHECK kind != 'seal' OR (last_seq = seq AND complete_through IS NOT NULL),

    PROJECTION by_stream
    (
        SELECT stream, seq, kind, node, last_seq, complete_through, open_streams, final
        ORDER BY stream, seq
    )
)
ENGINE = ${replicated}ReplacingMergeTree
PARTITION BY toYYYYMM(admitted_at)
ORDER BY (organization_id, environment, toDate(admitted_at), stream, seq)
SETTINGS
    $dedup_window = 100000$dedup_seconds,
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    deduplicate_merge_projection_mode = 'rebuild',
    index_granularity = 4096
