"""What a platform refuses with the reason, unless it has the capability."""

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.access_logs import AccessLog
from tasks.platforms.containers import Containers
from tasks.platforms.definitions import Definition
from tasks.platforms.hosts import Host
from tasks.platforms.images import Images
from tasks.platforms.memory import Memory
from tasks.platforms.networks import Network
from tasks.platforms.scaling import Scaling
from tasks.platforms.trials import Trials


class Lacking:
    """A target without the capabilities that a platform need not have."""

    @property
    def name(self) -> str:
        """The target's name."""
        raise NotImplementedError

    @property
    def definition(self) -> Definition:
        """The files that define its services.

        Raises:
            PreconditionFailed: Always, where the platform has none.
        """
        raise PreconditionFailed(
            expected="services that are defined in compose files.",
            found=f"the platform of {self.name} lacks that.",
            todo="Nothing: it concerns compose projects alone.",
        )

    @property
    def memory(self) -> Memory:
        """The limits of memory of its services.

        Raises:
            PreconditionFailed: Always, where the platform has none.
        """
        raise PreconditionFailed(
            expected="services in containers that have limits of memory.",
            found=f"the platform of {self.name} lacks that.",
            todo="Nothing: its processes may use what the machine has.",
        )

    @property
    def images(self) -> Images:
        """The images that it builds.

        Raises:
            PreconditionFailed: Always, where the platform has none.
        """
        raise PreconditionFailed(
            expected="services whose images are built from a Dockerfile.",
            found=f"the platform of {self.name} lacks that.",
            todo="Nothing: its programs run as they were installed.",
        )

    @property
    def machine(self) -> Host:
        """The machine that it runs on.

        Raises:
            PreconditionFailed: Always, where the platform has none.
        """
        raise PreconditionFailed(
            expected="a machine that the target runs on.",
            found=f"the platform of {self.name} lacks that.",
            todo="Nothing: what is done to a machine cannot be done there.",
        )

    @property
    def access_log(self) -> AccessLog:
        """The log of requests.

        Raises:
            PreconditionFailed: Always, where the platform has none.
        """
        raise PreconditionFailed(
            expected="a proxy that writes down each request with the size of its answer.",
            found=f"that of {self.name} writes none.",
            todo="Nothing: what is known by it stays unknown.",
        )

    @property
    def containers(self) -> Containers:
        """The containers of its services.

        Raises:
            PreconditionFailed: Always, where the platform has none.
        """
        raise PreconditionFailed(
            expected="services that run in containers.",
            found=f"the platform of {self.name} lacks that.",
            todo="Nothing: its processes are looked after by whoever starts them.",
        )

    @property
    def network(self) -> Network:
        """The ports of its services.

        Raises:
            PreconditionFailed: Always, where the platform has none.
        """
        raise PreconditionFailed(
            expected="services in containers that publish ports.",
            found=f"the platform of {self.name} lacks that.",
            todo="Nothing: its processes listen at the machine's own ports.",
        )

    @property
    def scaling(self) -> Scaling:
        """How many containers serve the application.

        Raises:
            PreconditionFailed: Always, where the platform has none.
        """
        raise PreconditionFailed(
            expected="an application in containers, of which there can be more.",
            found=f"the platform of {self.name} lacks that: its processes are named in the target.",
            todo="Start another process by hand, and name it in `replicas` of the target.",
        )

    @property
    def trials(self) -> Trials:
        """Commands in its containers.

        Raises:
            PreconditionFailed: Always, where the platform has none.
        """
        raise PreconditionFailed(
            expected="services in containers, in which commands can be tried.",
            found=f"the platform of {self.name} lacks that.",
            todo="Nothing: its processes have no health check of an engine's.",
        )
