-- The newest proven seal of each stream, so that counting goes on from there and retention may
-- remove what lies before it.
CREATE TABLE IF NOT EXISTS proven_seal $on_cluster
(
    stream LowCardinality(String),
    last_seq UInt64,
    node LowCardinality(String),
    complete_through DateTime64(6, 'UTC'),
    final Bool,
    duplicates UInt64,
    proven_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ${replicated}ReplacingMergeTree(last_seq)
ORDER BY stream
SETTINGS $dedup_window = 10000$dedup_seconds, fsync_after_insert = 1, fsync_part_directory = 1
