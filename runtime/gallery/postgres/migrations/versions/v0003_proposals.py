"""Which vehicles may be vehicles of other regions, and what people have said of that."""

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = """
CREATE TABLE proposals (
    id bigserial PRIMARY KEY, vehicle bigint NOT NULL REFERENCES vehicles ON DELETE CASCADE, region text COLLATE "C" NOT NULL,
    other bigint NOT NULL, score double precision NOT NULL, at double precision NOT NULL DEFAULT extract(epoch FROM now()),
    state text COLLATE "C" NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'same', 'different')), who text COLLATE "C",
    answered double precision, UNIQUE (vehicle, region, other));
"""

ROLES = """
DO $$
DECLARE
    reader text := role_of('reader');
    writer text := role_of('writer');
BEGIN
    IF reader IS NULL OR writer IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('GRANT SELECT ON proposals TO %I, %I', reader, writer);
    EXECUTE format('GRANT INSERT, UPDATE, DELETE ON proposals TO %I', writer);
    EXECUTE format('GRANT USAGE, SELECT, UPDATE ON SEQUENCE proposals_id_seq TO %I', writer);
    PERFORM let_maintain('proposals');
END $$;
"""


def upgrade() -> None:
    """Make everything."""
    lent = op.get_bind().connection.driver_connection
    assert lent is not None
    lent.execute(TABLES + ROLES)
