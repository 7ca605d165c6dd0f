"""vreid doctor: what is installed, what is missing for which job, and the fix."""

import platform
from dataclasses import asdict, dataclass

from vreid.cli import output


@dataclass(frozen=True)
class Args:
    """What is installed, what is missing for which job, and the fix. Exit code 1: `vreid run` would not work."""

    json: bool = False
    """print one JSON document on stdout instead of tables"""


def main(args: Args) -> int:
    """0 when the job `run` is ready, else 1."""

    from vreid.cli import diagnosis, installed

    packages, machine = installed.packages(), installed.machine()
    jobs, traps = diagnosis.jobs(packages, machine), diagnosis.traps(packages, machine)
    engines = diagnosis.engines(packages, machine)
    works = next(job.ready for job in jobs if job.name == "run")
    if args.json:
        output.document(
            {
                "works": works,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "machine": asdict(machine),
                "packages": {name: asdict(package) for name, package in packages.items()},
                "jobs": {job.name: asdict(job) for job in jobs},
                "engines": {engine.name: asdict(engine) for engine in engines},
                "jetpack": diagnosis.jetpack(machine.jetson) if machine.jetson else None,
                "traps": traps,
            }
        )
        return 0 if works else 1

    rows: list[tuple[str, str, str, str]] = []
    for module in installed.DISTRIBUTIONS:
        users = ", ".join(name for name, needs in diagnosis.NEEDS.items() if module in needs)
        package = packages.get(module)
        if package is None:
            rows.append((module, "-", "", users))
        else:
            rows.append((module, package.version, package.problem or package.note, users))
    output.table(
        f"Python {platform.python_version()} on {platform.platform()}", ("package", "version", "", "for"), rows
    )
    release = f"{diagnosis.jetpack(machine.jetson)} (L4T {machine.jetson})" if machine.jetson else ""
    board = f"{machine.model or 'Jetson'}, {release}" if machine.jetson else "no Jetson"
    driver = f"libcuda for CUDA {machine.driver}" if machine.driver else "no libcuda"
    devices = ", ".join(machine.devices) or "no NVIDIA device"
    output.result(f"{devices}; {driver}; {board}")
    said = [(job.name, "yes" if job.ready else "no", ", ".join(job.missing)) for job in jobs]
    rows_of_engines = [
        (engine.name, "yes" if engine.runs else "no", "yes" if engine.builds else "no", ", ".join(engine.lacks))
        for engine in engines
    ]
    output.table("Engines", ("engine", "runs here", "is built here", "lacking"), rows_of_engines)
    output.table("Jobs", ("job", "ready", "missing"), said)
    for job in jobs:
        if not job.ready:  # outside the table, where no column breaks a command that is to be copied
            output.result(f"{job.name}: {job.fix}")
    for trap in traps:
        output.result(f"warning: {trap}")
    return 0 if works else 1
