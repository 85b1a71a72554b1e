-- Times are ms of the wall clock: the monotonic one does not outlive the machine.

CREATE TABLE IF NOT EXISTS sessions (
    row INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    id TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    version INTEGER NOT NULL,
    labels TEXT NOT NULL,
    idle_ttl INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    max_deadline INTEGER NOT NULL
) STRICT;

-- Values in the form of lists.py.
CREATE TABLE IF NOT EXISTS vals (
    session INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (session, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS tombstones (
    owner TEXT NOT NULL,
    id TEXT NOT NULL,
    expired INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (owner, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    at INTEGER NOT NULL,
    outcome TEXT NOT NULL
) STRICT;
