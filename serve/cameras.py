"""Which cameras there are, and which of them a person may see."""

from dataclasses import dataclass

from vreid.runtime.session import CameraSettings, Site
from vreid.runtime.sources.table import Address, addresses_of
from vreid.serve.rights import Person
from vreid.serve.service import Service


@dataclass(frozen=True)
class SiteCamera:
    """A camera as the site's file has it; its address may hold a password."""

    address: Address
    settings: CameraSettings

    @property
    def name(self) -> str:
        """What it is called."""
        return self.address.camera


def cameras_of(service: Service, person: Person) -> list[str]:
    """Those with live pictures, of the run, and with sightings, that the person may see, by name."""
    live, status = service.live, service.status()
    with service.access.reading() as gallery:
        found = {*gallery.cameras(), *(live.cameras() if live is not None else ()), *(status.cameras if status else ())}
    return sorted(filter(person.sees, found))


def seen_cameras(site: Site | None, person: Person) -> list[SiteCamera]:
    """The cameras of the site's file that the person may see."""
    every = site.cameras if site is not None else ()
    found = map(SiteCamera, addresses_of([settings.source for settings in every]), every)
    return [camera for camera in found if person.sees(camera.name)]


def zones_of(site: Site | None, person: Person) -> list[str]:
    """The zones of these, by name."""
    return sorted({zone for camera in seen_cameras(site, person) for zone in camera.settings.regions.zones})
