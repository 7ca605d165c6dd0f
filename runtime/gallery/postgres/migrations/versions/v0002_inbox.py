"""What a centre keeps of boxes: who resolves, which messages were received, whose sighting is which, and what is still to be sent.

Triggers note what boxes are to hear of a change, whichever program makes it.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

# received: `at` is a message's number in the log, in which one message can stand twice; `seq` 0: it was sent to the box, or put
# aside; `erased`: it is not in the log any more.
# box_sightings: `here` is a sighting's id, NULL when that was purged or removed, or never made; `removed` ones are kept for ever;
# `missing`: its picture is not here yet.
# identities, removals: what waits, once for each sighting; it gets a new id when it is written again.
TABLES = """
CREATE TABLE lease (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), holder text COLLATE "C", epoch bigint NOT NULL,
    seconds double precision NOT NULL, until timestamptz NOT NULL);
CREATE TABLE received (
    box text COLLATE "C" NOT NULL, seq bigint NOT NULL, at bigint NOT NULL, sighting bigint,
    received double precision NOT NULL DEFAULT extract(epoch FROM now()), erased boolean NOT NULL DEFAULT false,
    PRIMARY KEY (box, seq, at));
CREATE INDEX received_of ON received (box, sighting);
CREATE INDEX received_when ON received (received);
CREATE TABLE box_sightings (
    box text COLLATE "C" NOT NULL, sighting bigint NOT NULL, vehicle bigint NOT NULL, here bigint, picture text COLLATE "C",
    missing boolean NOT NULL DEFAULT false, removed boolean NOT NULL DEFAULT false, purged boolean NOT NULL DEFAULT false,
    received double precision NOT NULL DEFAULT extract(epoch FROM now()), PRIMARY KEY (box, sighting));
CREATE INDEX box_sightings_here ON box_sightings (here) WHERE here IS NOT NULL;
CREATE INDEX box_sightings_gone ON box_sightings (received) WHERE here IS NULL AND NOT removed;
CREATE INDEX box_sightings_of ON box_sightings (box, vehicle);
CREATE INDEX box_sightings_absent ON box_sightings (box, vehicle) WHERE here IS NULL AND NOT removed;
CREATE INDEX box_sightings_picture ON box_sightings (picture) WHERE picture IS NOT NULL;
CREATE INDEX box_sightings_missing ON box_sightings (received, here) WHERE missing;
CREATE TABLE identities (
    box text COLLATE "C" NOT NULL, sighting bigint NOT NULL, id bigserial NOT NULL UNIQUE, PRIMARY KEY (box, sighting));
CREATE TABLE removals (
    box text COLLATE "C" NOT NULL, sighting bigint NOT NULL, id bigserial NOT NULL UNIQUE, PRIMARY KEY (box, sighting));
CREATE TABLE boxes (
    name text COLLATE "C" PRIMARY KEY, seq bigint NOT NULL, heard double precision NOT NULL, ahead double precision NOT NULL);
"""

# What is deleted was removed by a person, with its vehicle or without, unless purge_sightings has deleted it. That trigger is for
# each statement: one for each row would take a sighting that moves into another month for one that is deleted. Its statement is
# planned each time, for one row or for many. Of the boxes' own vehicles the log may have more messages, of which nothing is here:
# they are erased with it.
TRIGGERS = """
CREATE FUNCTION note_moved() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO identities (box, sighting) SELECT box, sighting FROM box_sightings WHERE here = new.id
        ON CONFLICT (box, sighting) DO UPDATE SET id = excluded.id;
    RETURN NULL;
END $$;
CREATE TRIGGER sighting_moved AFTER UPDATE OF vehicle ON sightings
    FOR EACH ROW WHEN (old.vehicle <> new.vehicle) EXECUTE FUNCTION note_moved();
CREATE FUNCTION note_removed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    EXECUTE $statement$
        WITH gone AS (
            UPDATE box_sightings b SET here = NULL, removed = true FROM rows_gone r WHERE b.here = r.id
            RETURNING b.box, b.sighting, b.vehicle
        ), heard AS (
            INSERT INTO identities (box, sighting) SELECT box, sighting FROM gone
            ON CONFLICT (box, sighting) DO UPDATE SET id = excluded.id
        ), absent AS (
            SELECT b.box, b.sighting FROM (SELECT DISTINCT box, vehicle FROM gone) g JOIN box_sightings b USING (box, vehicle)
            WHERE b.here IS NULL AND NOT b.removed AND (b.picture IS NOT NULL
                OR EXISTS (SELECT 1 FROM received r WHERE r.box = b.box AND r.sighting = b.sighting AND NOT r.erased))
        )
        INSERT INTO removals (box, sighting) SELECT box, sighting FROM gone UNION ALL SELECT box, sighting FROM absent
            ON CONFLICT (box, sighting) DO UPDATE SET id = excluded.id
    $statement$;
    RETURN NULL;
END $$;
CREATE TRIGGER sighting_removed AFTER DELETE ON sightings
    REFERENCING OLD TABLE AS rows_gone FOR EACH STATEMENT EXECUTE FUNCTION note_removed();
CREATE FUNCTION note_renamed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO identities (box, sighting)
        SELECT b.box, b.sighting FROM sightings s JOIN box_sightings b ON b.here = s.id WHERE s.vehicle = new.id
        ON CONFLICT (box, sighting) DO UPDATE SET id = excluded.id;
    RETURN NULL;
END $$;
CREATE TRIGGER vehicle_renamed AFTER UPDATE OF name ON vehicles
    FOR EACH ROW WHEN (old.name <> new.name) EXECUTE FUNCTION note_renamed();
CREATE FUNCTION purge_sightings(before double precision) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
DECLARE
    dropped bigint;
    deleted bigint;
BEGIN
    WITH old AS (
        UPDATE box_sightings b SET here = NULL, picture = CASE WHEN missing THEN picture END, missing = false, purged = true
        FROM sightings s WHERE s.id = b.here AND s.seen < before
        RETURNING b.box, b.sighting
    )
    DELETE FROM identities i USING old WHERE i.box = old.box AND i.sighting = old.sighting;
    dropped := drop_months(before);
    DELETE FROM sightings WHERE seen < before;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN dropped + deleted;
END $$;
"""

# ANALYZE copies values of rows into pg_statistic, where they stay when the rows are deleted: not those that say what a vehicle
# is. A change of a column's type, be it to the same one, drops what is there already.
STATISTICS = """
CREATE FUNCTION keep_out_of_statistics(relation text) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    part text;
BEGIN
    FOR part IN SELECT attname FROM pg_attribute WHERE attrelid = relation::regclass
            AND attname IN ('name', 'key', 'thumbnail', 'plate', 'feature', 'picture', 'value') LOOP
        EXECUTE format('ALTER TABLE ONLY %I ALTER COLUMN %I SET STATISTICS 0', relation, part);
    END LOOP;
    FOR part IN SELECT relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid
            WHERE indrelid = relation::regclass AND indexprs IS NOT NULL LOOP
        EXECUTE format('ALTER INDEX %I ALTER COLUMN 1 SET STATISTICS 0', part);
    END LOOP;
END $$;
ALTER TABLE settings ALTER COLUMN key TYPE text COLLATE "C", ALTER COLUMN value TYPE text COLLATE "C";
ALTER TABLE vehicles ALTER COLUMN name TYPE text COLLATE "C", ALTER COLUMN key TYPE text COLLATE "C",
    ALTER COLUMN thumbnail TYPE bytea;
ALTER TABLE prototypes ALTER COLUMN feature TYPE vector({dim});
ALTER TABLE sightings ALTER COLUMN plate TYPE text COLLATE "C", ALTER COLUMN thumbnail TYPE bytea,
    ALTER COLUMN feature TYPE halfvec({dim});
SELECT keep_out_of_statistics(relname) FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p');
CREATE OR REPLACE FUNCTION make_month(moment double precision) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET timezone = 'UTC' SET lock_timeout = '100ms' AS $$
DECLARE
    first timestamptz := CASE WHEN moment >= 946684800 AND moment < 4102444800
        THEN date_trunc('month', to_timestamp(moment)) END;
    month text := to_char(first, '"sightings_"YYYY_MM');
    low double precision := extract(epoch FROM first);
    high double precision := extract(epoch FROM first + interval '1 month');
BEGIN
    IF month IS NULL OR to_regclass(month) IS NOT NULL THEN
        RETURN;
    END IF;
    BEGIN
        LOCK TABLE sightings_other IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('CREATE TABLE %I (LIKE sightings INCLUDING DEFAULTS)', month);
        EXECUTE format('WITH gone AS (DELETE FROM sightings_other WHERE seen >= %L AND seen < %L RETURNING *)
                        INSERT INTO %I SELECT * FROM gone', low, high, month);
        EXECUTE format('ALTER TABLE sightings ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', month, low, high);
        PERFORM let_maintain(month), keep_out_of_statistics(month);
    EXCEPTION WHEN lock_not_available THEN
        NULL;
    END;
END $$;
"""

ROLES = """
DO $$
DECLARE
    reader text := role_of('reader');
    writer text := role_of('writer');
    relation text;
BEGIN
    REVOKE EXECUTE ON FUNCTION note_moved, note_removed, note_renamed, purge_sightings, keep_out_of_statistics FROM PUBLIC;
    IF reader IS NULL OR writer IS NULL THEN
        RETURN;
    END IF;
    FOREACH relation IN ARRAY ARRAY['lease', 'received', 'box_sightings', 'identities', 'removals', 'boxes'] LOOP
        EXECUTE format('GRANT SELECT ON %I TO %I, %I', relation, reader, writer);
        EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %I TO %I', relation, writer);
        PERFORM let_maintain(relation);
    END LOOP;
    EXECUTE format('GRANT USAGE, SELECT, UPDATE ON SEQUENCE identities_id_seq, removals_id_seq TO %I', writer);
    EXECUTE format('GRANT EXECUTE ON FUNCTION purge_sightings TO %I', writer);
END $$;
"""


def upgrade() -> None:
    """Make everything."""
    config, lent = op.get_context().config, op.get_bind().connection.driver_connection
    assert config is not None and lent is not None
    statistics = STATISTICS.replace("{dim}", str(int(config.attributes["dim"])))
    lent.execute(TABLES + statistics + TRIGGERS + ROLES)
