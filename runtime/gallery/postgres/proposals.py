"""The pairs of a gallery's vehicles and those of other regions."""

from collections.abc import Collection

from vreid.runtime.gallery.postgres.database import Database
from vreid.runtime.gallery.proposals import Answer, Proposal, State

_COLUMNS = "id, vehicle, region, other, score, at, state, who, answered"


class PostgresProposals:
    """See `vreid.runtime.gallery.proposals.Proposals`."""

    def __init__(self, database: Database) -> None:
        self._run, self._rows, self._row = database.run, database.rows, database.row

    def propose(self, vehicle: int, region: str, other: int, score: float) -> bool:
        added = self._run(
            "INSERT INTO proposals (vehicle, region, other, score) SELECT v.id, %s, %s, %s FROM vehicles v WHERE v.id = %s"
            " ON CONFLICT DO NOTHING",
            region, other, float(score), vehicle,
        )  # fmt: skip
        return added > 0

    def withdraw(self, vehicle: int, region: str, other: int) -> bool:
        query = "DELETE FROM proposals WHERE vehicle = %s AND region = %s AND other = %s AND state = 'open'"
        return self._run(query, vehicle, region, other) > 0

    def drop(self, ids: Collection[int]) -> None:
        self._run("DELETE FROM proposals WHERE id = ANY(%s::bigint[])", [*ids])

    def pairs(self, state: State | None = None, region: str | None = None) -> list[Proposal]:
        query = (
            f"SELECT {_COLUMNS} FROM proposals WHERE (%(state)s::text IS NULL OR state = %(state)s)"
            " AND (%(region)s::text IS NULL OR region = %(region)s) ORDER BY id"
        )
        return [Proposal(*row) for row in self._rows(query, state=state, region=region)]

    def count_open(self) -> int:
        return int(self._row("SELECT count(*) FROM proposals WHERE state = 'open'")[0])

    def answer(self, proposal: int, answer: Answer, who: str) -> Proposal | None:
        row = self._row(
            "UPDATE proposals SET state = %s, who = %s, answered = extract(epoch FROM now())::float8 WHERE id = %s"
            f" RETURNING {_COLUMNS}",
            answer, who, proposal,
        )  # fmt: skip
        return None if row is None else Proposal(*row)
