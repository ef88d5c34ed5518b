"""A compose project whose application's image is built from an index that moves on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.testbed.compose.project import OF_TARGET
from infra.testbed.compose.system import ComposeSystem
from tests.crashing import PRODUCTION, Crashing, crashing
from tests.leftovers import built_for_ours
from tests.python_index import Index, pip_wheel

DOCKERFILE = """\
FROM planner-app:production AS production
ARG INDEX
USER root
COPY pip.whl requirements.txt /srv/
RUN python /srv/pip.whl/pip install --no-cache-dir --target /opt/extra --retries 0 --timeout 60 \\
    --index-url $INDEX --trusted-host $(echo $INDEX | cut -d/ -f3) -r /srv/requirements.txt
ENV PYTHONPATH=/opt/site:/opt/extra
USER 65534:65534
# With several workers uvicorn itself stays up whatever becomes of them.
CMD ["uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "8000"]
"""
# No line end behind the last one.
REQUIREMENTS = "# Ours\n\nplanner-extra == 1.0  # wanted"


@dataclass
class Rebuilding:
    """The project, the index, and what its image is called.

    Args:
        project: The project.
        index: The index.
        name: Name of the image.
        url: Where the index is reached by a build.
    """

    project: Crashing
    index: Index
    name: str
    url: str

    @property
    def folder(self) -> Path:
        """The folder that is built."""
        return self.project.system.folder

    @property
    def requirements(self) -> Path:
        """The requirements file."""
        return self.folder / "requirements.txt"

    @property
    def network(self) -> str:
        """The network that a build has."""
        return f"{self.project.system.project.name}_planner-network"

    def build(self) -> str:
        """Build the image as `compose build` does; give its id."""
        self.project.client.images.build(
            path=str(self.folder),
            tag=self.name,
            buildargs={"INDEX": self.url},
            network_mode=self.network,
            target="production",
            rm=True,
            forcerm=True,
        )
        return self.project.image(self.name)

    def tag(self, tag: str) -> str:
        """Give the id of the image of another tag, '' where there is none."""
        return self.project.image(f"{self.name.rpartition(':')[0]}:{tag}")

    def left(self) -> set[str]:
        """Name what a remediation has built or started for itself, and not removed."""
        client = self.project.client
        tried = client.containers.list(
            all=True, filters={"label": "remedy.tried"}, ignore_removed=True
        )
        ours = f"{self.project.system.project.name}/"
        return built_for_ours(client, dangling=True) | {
            str(one.name) for one in tried if one.labels[OF_TARGET].startswith(ours)
        }


@contextmanager
def rebuilding(system: ComposeSystem, folder: Path) -> Iterator[Rebuilding]:
    """Give a project that runs an image of its own, built from an index of the test's own."""
    index = Index(folder / "index")
    index.add("lower", "1.0")
    index.add("planner-extra", "1.0", ["lower>=1"])
    with crashing(system) as project:
        network = project.client.networks.get(f"{system.project.name}_planner-network")
        gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
        with index.served(gateway) as url:
            name = f"{system.project.name}-image:1"
            found = Rebuilding(project, index, name, url)
            (found.folder / "pip.whl").write_bytes(pip_wheel())
            (found.folder / "Dockerfile").write_text(DOCKERFILE)
            found.requirements.write_text(REQUIREMENTS)
            build = f"      target: production\n      network: {found.network}\n"
            build += f"      args:\n        INDEX: {url}\n"
            project.edit("docker-compose.prod.yml", "      target: production\n", build)
            project.edit("docker-compose.prod.yml", PRODUCTION, name)
            found.build()
            project.up("app")
            project.until(lambda one: one.health == "healthy")
            yield found
