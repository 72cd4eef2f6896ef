-- Lines that the log refused. An unresolved one blocks the close of what it touches; resolving
-- writes the row again with `resolved_at` and a later `recorded_at`, which replaces it.
CREATE TABLE IF NOT EXISTS dead_letter $on_cluster
(
    stream LowCardinality(String),
    seq UInt64,
    reason String,
    raw String,
    admitted_at Nullable(DateTime64(6, 'UTC')) DEFAULT NULL,
    recorded_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC'),
    resolved_at Nullable(DateTime64(6, 'UTC')) DEFAULT NULL,
    resolution String DEFAULT '',

    CONSTRAINT identified CHECK stream != '' AND seq > 0
)
ENGINE = ${replicated}ReplacingMergeTree(recorded_at)
ORDER BY (stream, seq)
SETTINGS $dedup_window = 10000$dedup_seconds, fsync_after_insert = 1, fsync_part_directory = 1
