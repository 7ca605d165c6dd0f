"""The tables of a gallery, the functions by which its partitions come and go, and what its three roles may do.

They are made in the first schema of the search path, by its owner.
"""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE meta (key text COLLATE "C" PRIMARY KEY, value text COLLATE "C" NOT NULL);
CREATE TABLE settings (key text COLLATE "C" PRIMARY KEY, value text COLLATE "C" NOT NULL);
CREATE TABLE vehicles (
    id bigint PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE, key text COLLATE "C" NOT NULL UNIQUE, named boolean NOT NULL,
    created double precision NOT NULL, kind text COLLATE "C", pictured double precision, thumbnail bytea);
CREATE INDEX vehicles_list ON vehicles (named, key, kind, created);
CREATE TABLE prototypes (
    id bigserial PRIMARY KEY, vehicle bigint NOT NULL REFERENCES vehicles ON DELETE CASCADE, view text COLLATE "C" NOT NULL,
    feature vector({dim}) NOT NULL, weight double precision NOT NULL, count bigint NOT NULL);
CREATE INDEX prototypes_of ON prototypes (vehicle);
CREATE SEQUENCE sighting_ids;
CREATE TABLE sightings (
    id bigint NOT NULL DEFAULT nextval('sighting_ids'), vehicle bigint NOT NULL REFERENCES vehicles ON DELETE CASCADE,
    camera text COLLATE "C" NOT NULL, track bigint NOT NULL, first_time double precision NOT NULL,
    last_time double precision NOT NULL, first_frame bigint NOT NULL, last_frame bigint NOT NULL, score double precision NOT NULL,
    thumbnail bytea, run text COLLATE "C" NOT NULL, seen double precision NOT NULL, kind text COLLATE "C",
    plate text COLLATE "C", quality double precision NOT NULL, feature halfvec({dim}), zones text[] COLLATE "C",
    PRIMARY KEY (id, seen)) PARTITION BY RANGE (seen);
ALTER SEQUENCE sighting_ids OWNED BY sightings.id;
CREATE TABLE sightings_other PARTITION OF sightings DEFAULT;
CREATE INDEX sightings_of ON sightings (vehicle, seen, id);
CREATE INDEX sightings_at ON sightings (seen, id);
CREATE INDEX sightings_from ON sightings (camera, seen, id);
CREATE INDEX sightings_kind ON sightings (kind, vehicle);
CREATE INDEX sightings_plate ON sightings ((replace(replace(upper(plate), ' ', ''), '-', '')) text_pattern_ops)
    WHERE plate IS NOT NULL;
CREATE INDEX sightings_zones ON sightings USING gin (zones) WHERE zones IS NOT NULL;
CREATE TABLE changes (id bigint PRIMARY KEY, prototype bigint NOT NULL, mark bigint NOT NULL);
CREATE TABLE audit (
    id bigserial PRIMARY KEY, at double precision NOT NULL, who text NOT NULL, verb text COLLATE "C" NOT NULL, vehicle bigint,
    vehicles bigint[] NOT NULL, detail json NOT NULL CHECK (json_typeof(detail) = 'object'), undo json,
    undone bigint NOT NULL DEFAULT 0);
CREATE INDEX audit_vehicle ON audit (vehicle);
CREATE INDEX audit_vehicles ON audit USING gin (vehicles);
"""
# vehicles, sightings, changes: as in sqlite/schema.py; zones: NULL for none. A prototype's feature is float32, for it is averaged
# again and again; a sighting's is float16. audit: `vehicles` are those of `detail`, and `undo` is what undoing needs.

# Each change has a number, one more than the last: writers take turns, so that the greatest number is the last one's. The log goes
# back for as many changes as there are prototypes, 100,000 at least.
CHANGES = """
CREATE FUNCTION log_prototypes() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    last bigint := coalesce((SELECT max(id) FROM changes), 0);
    added bigint;
BEGIN
    INSERT INTO changes
        SELECT last + row_number() OVER (ORDER BY id), id, ((random() - 0.5) * 9e18)::bigint FROM rows_changed;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF last / 4096 <> (last + added) / 4096 THEN
        DELETE FROM changes WHERE id <= last + added - greatest(100000, (SELECT count(*) FROM prototypes));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER prototype_new AFTER INSERT ON prototypes
    REFERENCING NEW TABLE AS rows_changed FOR EACH STATEMENT EXECUTE FUNCTION log_prototypes();
CREATE TRIGGER prototype_set AFTER UPDATE ON prototypes
    REFERENCING NEW TABLE AS rows_changed FOR EACH STATEMENT EXECUTE FUNCTION log_prototypes();
CREATE TRIGGER prototype_old AFTER DELETE ON prototypes
    REFERENCING OLD TABLE AS rows_changed FOR EACH STATEMENT EXECUTE FUNCTION log_prototypes();
"""

# Both take locks that a long reader may hold. A month that cannot be attached now has its rows in sightings_other, and the next
# sighting tries again; one that cannot be dropped now has its rows deleted by the caller.
PARTITIONS = """
CREATE FUNCTION make_month(moment double precision) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
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
        PERFORM let_maintain(month);
    EXCEPTION WHEN lock_not_available THEN
        NULL;
    END;
END $$;
CREATE FUNCTION drop_months(before double precision) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET timezone = 'UTC' SET lock_timeout = '100ms' AS $$
DECLARE
    month text;
    found bigint;
    dropped bigint := 0;
BEGIN
    FOR month IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'sightings'::regclass AND c.relname ~ '^sightings_[0-9]{4}_[0-9]{2}$'
            AND extract(epoch FROM to_timestamp(c.relname, '"sightings_"YYYY_MM') + interval '1 month') <= before
        ORDER BY c.relname
    LOOP
        BEGIN
            LOCK TABLE ONLY sightings, vehicles IN ACCESS EXCLUSIVE MODE;
            EXECUTE format('SELECT count(*) FROM %I', month) INTO found;
            EXECUTE format('DROP TABLE %I', month);
            dropped := dropped + found;
        EXCEPTION WHEN lock_not_available THEN
            EXIT;
        END;
    END LOOP;
    RETURN dropped;
END $$;
"""

# From PostgreSQL 17 on a role that does not own a table may be let vacuum it.
ROLES = """
CREATE FUNCTION role_of(part text) RETURNS text LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT rolname::text FROM pg_roles WHERE rolname = current_schema() || '_' || part
$$;
CREATE FUNCTION let_maintain(relation text) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF role_of('writer') IS NOT NULL AND current_setting('server_version_num')::int >= 170000 THEN
        EXECUTE format('GRANT MAINTAIN ON %I TO %I', relation, role_of('writer'));
    END IF;
END $$;
DO $$
DECLARE
    reader text := role_of('reader');
    writer text := role_of('writer');
    relation text;
BEGIN
    REVOKE EXECUTE ON FUNCTION make_month, drop_months, let_maintain, log_prototypes FROM PUBLIC;
    IF reader IS NULL OR writer IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', current_schema(), reader, writer);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I, %I', current_schema(), reader, writer);
    EXECUTE format('GRANT INSERT, UPDATE, DELETE ON settings, vehicles, prototypes, sightings, audit TO %I', writer);
    EXECUTE format('GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA %I TO %I', current_schema(), writer);
    EXECUTE format('GRANT EXECUTE ON FUNCTION make_month, drop_months TO %I', writer);
    FOREACH relation IN ARRAY ARRAY['settings', 'vehicles', 'prototypes', 'sightings', 'sightings_other', 'changes', 'audit'] LOOP
        PERFORM let_maintain(relation);
    END LOOP;
END $$;
"""


def upgrade() -> None:
    """Make everything."""
    config, lent = op.get_context().config, op.get_bind().connection.driver_connection
    assert config is not None and lent is not None
    lent.execute(TABLES.replace("{dim}", str(int(config.attributes["dim"]))) + CHANGES + PARTITIONS + ROLES)
