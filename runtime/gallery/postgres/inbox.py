"""What a gallery in PostgreSQL has received from boxes; triggers note what boxes are to hear, whichever program makes a change."""

from collections.abc import Collection, Mapping
from datetime import datetime

from vreid.runtime.gallery.inbox import Box, BoxSighting, Identity, Lease, LeaseLost, Removal
from vreid.runtime.gallery.postgres.database import Database

_AGAIN = "ON CONFLICT (box, sighting) DO UPDATE SET id = excluded.id"  # what waits is as new as its last reason
# It is in the log again when that was put back from a backup; one that was made anew has another message of this number.
_IN_LOG = "ON CONFLICT (box, seq, at) DO UPDATE SET sighting = excluded.sighting, erased = false"
_BOX_SIGHTING = "SELECT box, sighting, vehicle, here, picture, removed OR purged FROM box_sightings"
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"  # milliseconds: a gallery that is made anew at once has a later one
# The server ends a transaction of the holder in which its program pauses for four times as long as its lease is: otherwise nobody
# else could write before it goes on. For a transaction (true), or for all that follow (false), from their first moment on.
_PAUSE = "set_config('idle_in_transaction_session_timeout', ceil(4000 * seconds)::bigint::text, {})"


class PostgresInbox:
    """See `vreid.runtime.gallery.inbox.Inbox`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._run, self._rows = database.run, database.rows
        self._row, self._column = database.row, database.column
        self._until: datetime | None = None  # the end of the lease that was taken last, by which it is known again

    # The lease

    def take_lease(self, holder: str, seconds: float) -> int | None:
        with self._database.transaction():
            row = self._row(
                "INSERT INTO lease AS l (holder, epoch, seconds, until)"
                f" VALUES (%(holder)s, {_NOW}, %(seconds)s, clock_timestamp() + make_interval(secs => %(seconds)s))"
                " ON CONFLICT (one) DO UPDATE SET holder = excluded.holder, seconds = excluded.seconds, until = excluded.until,"
                " epoch = CASE WHEN l.holder = excluded.holder AND l.until = %(last)s THEN l.epoch"
                " ELSE greatest(l.epoch + 1, excluded.epoch) END"
                " WHERE l.holder = excluded.holder OR l.until <= clock_timestamp() RETURNING epoch, until",
                holder=holder, seconds=float(seconds), last=self._until,
            )  # fmt: skip
            if row is not None:
                self._until = row[1]
                self._row(f"SELECT {_PAUSE.format('false')} FROM lease")
        return None if row is None else int(row[0])

    def lease(self) -> Lease | None:
        row = self._row(
            "SELECT holder, epoch, extract(epoch FROM until - clock_timestamp())::float8 FROM lease"
            " WHERE holder IS NOT NULL AND until > clock_timestamp()"
        )
        return None if row is None else Lease(*row)

    def release_lease(self, epoch: int) -> None:
        with self._database.transaction():
            self._run("UPDATE lease SET holder = NULL, until = '-infinity' WHERE epoch = %s", epoch)

    def refuse_other_epoch(self, epoch: int) -> None:
        """It sets the limit on pauses too, since the connection may be another one than that by which the lease was taken."""
        row = self._row(f"SELECT epoch, {_PAUSE.format('true')} FROM lease")
        if row is None or row[0] != epoch:
            raise LeaseLost(f"another resolver writes to the gallery {self._database.name} now; this one has to stop")

    # What boxes have sent

    def receive(self, box: str, seq: int, sighting: int | None, at: int) -> bool:
        """A message about what was removed is to be erased, and its box is to hear so again."""
        row = self._row(
            f"""WITH known AS (SELECT 1 FROM received WHERE box = %(box)s AND seq = %(seq)s
                    AND sighting IS NOT DISTINCT FROM %(sighting)s),
                added AS (INSERT INTO received (box, seq, at, sighting)
                    VALUES (%(box)s, %(seq)s, %(at)s, %(sighting)s) {_IN_LOG}),
                gone AS (SELECT box, sighting FROM box_sightings
                    WHERE box = %(box)s AND sighting = %(sighting)s AND removed),
                heard AS (INSERT INTO identities (box, sighting) SELECT box, sighting FROM gone {_AGAIN}),
                erased AS (INSERT INTO removals (box, sighting) SELECT box, sighting FROM gone {_AGAIN})
                SELECT NOT EXISTS (SELECT 1 FROM known)""",
            box=box, seq=seq, at=at, sighting=sighting,
        )  # fmt: skip
        return bool(row[0])

    def sighting(self, box: str, sighting: int) -> BoxSighting | None:
        row = self._row(f"{_BOX_SIGHTING} WHERE box = %s AND sighting = %s", box, sighting)
        return None if row is None else BoxSighting(*row)

    def sightings_of(self, box: str, vehicle: int) -> list[BoxSighting]:
        query = f"{_BOX_SIGHTING} WHERE box = %s AND vehicle = %s AND here IS NOT NULL ORDER BY sighting"
        return [BoxSighting(*row) for row in self._rows(query, box, vehicle)]

    def kept_apart(self, box: str, vehicle: int, among: Collection[int]) -> set[int]:
        found = self._column(
            "SELECT v.id FROM unnest(%s::bigint[]) v (id) WHERE EXISTS (SELECT 1 FROM sightings s JOIN box_sightings b"
            " ON b.here = s.id WHERE s.vehicle = v.id AND b.box = %s AND b.vehicle <> %s)",
            [*among], box, vehicle,
        )  # fmt: skip
        return set(found)

    def keep_sighting(self, known: BoxSighting) -> None:
        """What was removed does not come back; its picture, if one is named, is to be erased."""
        self._run(
            f"""WITH before AS (SELECT here FROM box_sightings WHERE box = %(box)s AND sighting = %(sighting)s),
                kept AS (INSERT INTO box_sightings AS b (box, sighting, vehicle, here, picture, missing)
                    VALUES (%(box)s, %(sighting)s, %(vehicle)s, %(here)s, %(picture)s,
                        %(picture)s::text IS NOT NULL
                            AND EXISTS (SELECT 1 FROM sightings s WHERE s.id = %(here)s AND s.thumbnail IS NULL))
                    ON CONFLICT (box, sighting) DO UPDATE SET
                        vehicle = excluded.vehicle, here = CASE WHEN NOT (b.removed OR b.purged) THEN excluded.here END,
                        picture = excluded.picture,
                        missing = CASE WHEN b.removed OR b.purged THEN b.missing ELSE excluded.missing END
                    RETURNING box, sighting, here)
                INSERT INTO identities (box, sighting) SELECT box, sighting FROM kept
                    WHERE here IS NOT NULL AND here IS DISTINCT FROM (SELECT here FROM before) {_AGAIN}""",
            box=known.box, sighting=known.sighting, vehicle=known.vehicle, here=known.here, picture=known.picture,
        )  # fmt: skip

    def put_aside(self, unread: BoxSighting, at: int) -> None:
        self._run(
            f"""WITH noted AS (INSERT INTO received (box, seq, at, sighting) VALUES (%(box)s, 0, %(at)s, %(sighting)s)
                    {_IN_LOG} RETURNING at),
                kept AS (INSERT INTO box_sightings AS b (box, sighting, vehicle, picture)
                    VALUES (%(box)s, %(sighting)s, %(vehicle)s, %(picture)s) ON CONFLICT (box, sighting)
                    DO UPDATE SET vehicle = excluded.vehicle WHERE b.here IS NULL AND NOT b.removed)
                INSERT INTO removals (box, sighting) SELECT b.box, b.sighting FROM box_sightings b, noted
                    WHERE b.box = %(box)s AND b.sighting = %(sighting)s AND b.removed {_AGAIN}""",
            box=unread.box, sighting=unread.sighting, vehicle=unread.vehicle, picture=unread.picture, at=at,
        )  # fmt: skip

    def remove_absent(self, box: str, vehicle: int) -> None:
        """The picture of one is in the object store, or may come there later."""
        self._run(
            f"""WITH gone AS (UPDATE box_sightings SET removed = true, missing = picture IS NOT NULL
                    WHERE box = %s AND vehicle = %s AND here IS NULL AND NOT removed RETURNING box, sighting)
                INSERT INTO removals (box, sighting) SELECT box, sighting FROM gone {_AGAIN}""",
            box, vehicle,
        )  # fmt: skip

    # What waits

    def identities(self, limit: int) -> list[Identity]:
        rows = self._rows(
            "SELECT i.id, i.box, i.sighting, v.id, v.name FROM identities i"
            " JOIN box_sightings b ON b.box = i.box AND b.sighting = i.sighting"
            " LEFT JOIN sightings s ON s.id = b.here LEFT JOIN vehicles v ON v.id = s.vehicle"
            " WHERE b.removed OR v.id IS NOT NULL ORDER BY i.id LIMIT %s",
            limit,
        )
        return [Identity(*row) for row in rows]

    def drop_identities(self, sent: Collection[tuple[Identity, int]]) -> None:
        """What names a sighting that was removed meanwhile is to be erased at once."""
        self._run(
            f"""WITH sent AS (SELECT * FROM unnest(%(ids)s::bigint[], %(boxes)s::text[], %(sightings)s::bigint[],
                    %(named)s::boolean[], %(numbers)s::bigint[]) AS s (id, box, sighting, named, at)),
                gone AS (DELETE FROM identities i USING sent s WHERE i.id = s.id),
                kept AS (INSERT INTO received (box, seq, at, sighting)
                    SELECT box, 0, at, sighting FROM sent WHERE named {_IN_LOG})
                INSERT INTO removals (box, sighting) SELECT b.box, b.sighting FROM sent s
                    JOIN box_sightings b ON b.box = s.box AND b.sighting = s.sighting WHERE b.removed AND s.named {_AGAIN}""",
            ids=[one.id for one, _ in sent], boxes=[one.box for one, _ in sent],
            sightings=[one.sighting for one, _ in sent], named=[one.vehicle is not None for one, _ in sent],
            numbers=[number for _, number in sent],
        )  # fmt: skip

    def missing_pictures(self, limit: int, after: float) -> list[str]:
        query = "SELECT picture FROM box_sightings WHERE missing AND received >= %s ORDER BY received DESC, here DESC LIMIT %s"
        return [*dict.fromkeys(self._column(query, float(after), limit))]

    def put_picture(self, sha256: str, jpeg: bytes) -> bool:
        """A vehicle that had no picture of its own keeps this one for as long as one that a run took at the sighting."""
        lacking = self._column(
            "UPDATE box_sightings SET missing = false, picture = CASE WHEN NOT removed THEN picture END"
            " WHERE picture = %s AND missing RETURNING here",
            sha256,
        )
        here = [one for one in lacking if one is not None]
        if not here:
            return False
        self._run(
            """WITH pictured AS (UPDATE sightings SET thumbnail = %(jpeg)s
                   WHERE id = ANY(%(here)s::bigint[]) AND thumbnail IS NULL RETURNING vehicle, seen)
               UPDATE vehicles v SET thumbnail = %(jpeg)s, pictured = p.first
               FROM (SELECT vehicle, min(seen) AS first FROM pictured GROUP BY vehicle) p
               WHERE v.id = p.vehicle AND v.thumbnail IS NULL""",
            jpeg=jpeg, here=here,
        )  # fmt: skip
        return True

    def removals(self, limit: int) -> list[Removal]:
        rows = self._rows(
            """SELECT x.id, x.box, x.sighting,
                   ARRAY(SELECT r.at FROM received r WHERE r.box = x.box AND r.sighting = x.sighting AND NOT r.erased
                       ORDER BY r.at),
                   CASE WHEN NOT EXISTS (SELECT 1 FROM box_sightings o WHERE o.picture = b.picture AND o.here IS NOT NULL)
                       THEN b.picture END
               FROM removals x JOIN box_sightings b ON b.box = x.box AND b.sighting = x.sighting ORDER BY x.id LIMIT %s""",
            limit,
        )
        return [
            Removal(id_, box, sighting, tuple(messages), () if picture is None else (picture,))
            for id_, box, sighting, messages, picture in rows
        ]

    def drop_removals(self, done: Collection[Removal]) -> None:
        """A message that came meanwhile waits under a new id. A picture that was never here may come yet."""
        numbers = [(one.box, at) for one in done for at in one.messages]
        self._run(
            """WITH done AS (DELETE FROM removals WHERE id = ANY(%(ids)s::bigint[]) RETURNING box, sighting),
               erased AS (UPDATE received r SET erased = true
                   FROM unnest(%(boxes)s::text[], %(numbers)s::bigint[]) AS e (box, at), done
                   WHERE r.box = e.box AND r.at = e.at AND done.box = r.box AND done.sighting = r.sighting)
               UPDATE box_sightings b SET picture = NULL FROM done
                   WHERE b.box = done.box AND b.sighting = done.sighting AND NOT b.missing""",
            ids=[one.id for one in done], boxes=[box for box, _ in numbers], numbers=[at for _, at in numbers],
        )  # fmt: skip

    def waiting(self) -> Mapping[str, int]:
        identities, pictures, removals = self._row(
            "SELECT (SELECT count(*) FROM identities), (SELECT count(DISTINCT picture) FROM box_sightings"
            " WHERE missing AND NOT removed),"
            " (SELECT count(*) FROM removals)"
        )
        return {"identities": identities, "pictures": pictures, "removals": removals}

    # Boxes

    def heard(self, box: str, seq: int, at: float, ahead: float) -> None:
        self._run(
            "INSERT INTO boxes VALUES (%s, %s, %s, %s) ON CONFLICT (name)"
            " DO UPDATE SET seq = excluded.seq, heard = excluded.heard, ahead = excluded.ahead",
            box, seq, float(at), float(ahead),
        )  # fmt: skip

    def boxes(self) -> list[Box]:
        return [Box(*row) for row in self._rows("SELECT name, seq, heard, ahead FROM boxes ORDER BY name")]

    def forget_received(self, before: float) -> int:
        """Sightings of which there is none here are forgotten with their messages, but for those that were removed."""
        messages = self._run(
            "DELETE FROM received r WHERE r.received < %s"
            " AND NOT EXISTS (SELECT 1 FROM removals x WHERE x.box = r.box AND x.sighting = r.sighting)",
            float(before),
        )
        return messages + self._run(
            "DELETE FROM box_sightings b WHERE received < %s AND here IS NULL AND NOT removed"
            " AND NOT EXISTS (SELECT 1 FROM removals x WHERE x.box = b.box AND x.sighting = b.sighting)",
            float(before),
        )
