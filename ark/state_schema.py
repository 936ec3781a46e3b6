"""The tables of the Mutable Core: the original's six, with revisions. See `ark.state`."""

from __future__ import annotations

__all__ = ["SCHEMA", "VIEWS"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS state_history (
    revision INTEGER PRIMARY KEY, kind TEXT NOT NULL, agent TEXT NOT NULL, key TEXT NOT NULL,
    value TEXT, value_type TEXT NOT NULL, details TEXT NOT NULL, timestamp REAL NOT NULL, version INTEGER NOT NULL,
    operation TEXT NOT NULL CHECK (operation IN ('create', 'update', 'delete', 'rollback')),
    requester TEXT NOT NULL, reason TEXT NOT NULL, previous INTEGER NOT NULL, restores INTEGER,
    origin TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS state_history_of_key ON state_history (kind, agent, key, revision);
CREATE INDEX IF NOT EXISTS state_history_of_time ON state_history (timestamp);
CREATE INDEX IF NOT EXISTS state_history_of_origin ON state_history (origin) WHERE origin != '';
CREATE TRIGGER IF NOT EXISTS state_history_contiguous BEFORE INSERT ON state_history
    WHEN NEW.revision IS NOT (SELECT ifnull(max(revision), 0) + 1 FROM state_history)
    BEGIN SELECT RAISE(ABORT, 'revisions are contiguous'); END;
CREATE TRIGGER IF NOT EXISTS state_history_unchanged BEFORE UPDATE ON state_history
    BEGIN SELECT RAISE(ABORT, 'history is never changed'); END;
CREATE TRIGGER IF NOT EXISTS state_history_kept BEFORE DELETE ON state_history
    BEGIN SELECT RAISE(ABORT, 'history is never deleted'); END;
CREATE TABLE IF NOT EXISTS agents_state (
    agent TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, value_type TEXT NOT NULL, timestamp REAL NOT NULL,
    version INTEGER NOT NULL, revision INTEGER NOT NULL, requester TEXT NOT NULL,
    PRIMARY KEY (agent, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS system_config (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, value_type TEXT NOT NULL, description TEXT NOT NULL,
    updater TEXT NOT NULL, timestamp REAL NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS truth_map (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, truth_value TEXT NOT NULL,
    confidence REAL NOT NULL CHECK (confidence BETWEEN 0 AND 1), sources TEXT NOT NULL, timestamp REAL NOT NULL,
    updated_by TEXT NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS memory_index (
    id TEXT PRIMARY KEY, agent TEXT NOT NULL, memory_type TEXT NOT NULL, content TEXT NOT NULL,
    metadata TEXT NOT NULL, timestamp REAL NOT NULL, expires_at REAL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS memory_index_of_agent ON memory_index (agent, memory_type, revision);
CREATE TABLE IF NOT EXISTS session_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT, agent TEXT NOT NULL, action_type TEXT NOT NULL, action_data TEXT NOT NULL,
    result TEXT NOT NULL CHECK (result IN ('success', 'failure', 'partial')),
    graveyard_approved INTEGER NOT NULL CHECK (graveyard_approved IN (0, 1)), timestamp REAL NOT NULL);
"""
"""Rows of the history have contiguous numbers, and are never changed or deleted: the table refuses it."""

VIEWS = {
    "state": "SELECT agent, key, value, revision FROM agents_state",
    "config": "SELECT '', key, value, revision FROM system_config",
    "truth": "SELECT '', key, truth_value, revision FROM truth_map",
    "memory": "SELECT agent, id, content, revision FROM memory_index",
}
"""What each kind's table shows: agent, key, value and revision."""
