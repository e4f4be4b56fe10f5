"""The gRPC server: services, limits, health, reflection."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from headrace_proto.keda import externalscaler_pb2, externalscaler_pb2_grpc
from headrace_proto.v1 import (
    access_pb2,
    access_pb2_grpc,
    admin_pb2,
    admin_pb2_grpc,
    agents_pb2,
    agents_pb2_grpc,
    alerts_pb2,
    alerts_pb2_grpc,
    brokers_pb2,
    brokers_pb2_grpc,
    certificates_pb2,
    certificates_pb2_grpc,
    doors_pb2,
    doors_pb2_grpc,
    filters_pb2,
    filters_pb2_grpc,
    grants_pb2,
    grants_pb2_grpc,
    graph_pb2,
    graph_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    lifecycle_pb2,
    lifecycle_pb2_grpc,
    limits_pb2,
    limits_pb2_grpc,
    logs_pb2,
    logs_pb2_grpc,
    operations_pb2,
    operations_pb2_grpc,
    schedules_pb2,
    schedules_pb2_grpc,
    stats_pb2,
    stats_pb2_grpc,
    users_pb2,
    users_pb2_grpc,
)

from headrace_broker.actions.certificates import Revocations
from headrace_broker.actions.grants import GrantTable
from headrace_broker.actions.saved_filters import SavedFilters
from headrace_broker.actions.tokens import TokenTable
from headrace_broker.actions.users import Users
from headrace_broker.alerts.desk import AlertDesk
from headrace_broker.metrics import Metrics
from headrace_broker.rpc.access import Gate
from headrace_broker.rpc.admin import AdminService
from headrace_broker.rpc.agents import AgentsService
from headrace_broker.rpc.alerts import AlertsService
from headrace_broker.rpc.brokers import BrokersService
from headrace_broker.rpc.certificates import CertificatesService
from headrace_broker.rpc.choice import Choice, Handlers
from headrace_broker.rpc.connections import ConnectionLimits, server_options
from headrace_broker.rpc.forward import Forwarder
from headrace_broker.rpc.grants import GrantsService
from headrace_broker.rpc.graph import GraphService
from headrace_broker.rpc.instances import INSTANCES, add_instances
from headrace_broker.rpc.interceptors import Guard
from headrace_broker.rpc.jobs import JobsService
from headrace_broker.rpc.lifecycle import LifecycleService
from headrace_broker.rpc.limits import LimitsService
from headrace_broker.rpc.logs import LogsService
from headrace_broker.rpc.open_doors import DoorsService
from headrace_broker.rpc.operations import OperationsService
from headrace_broker.rpc.peers import Peers
from headrace_broker.rpc.quotas import QuotaLimits, Quotas
from headrace_broker.rpc.routes import Keys, Routes
from headrace_broker.rpc.saved_filters import FiltersService
from headrace_broker.rpc.scaler import ScalerService
from headrace_broker.rpc.schedules import SchedulesService
from headrace_broker.rpc.stats import StatsService
from headrace_broker.rpc.submit import full
from headrace_broker.rpc.testing import TESTING, add_testing
from headrace_broker.rpc.tokens import AccessService
from headrace_broker.rpc.users import UsersService
from headrace_broker.shards.ownerships import Ownerships
from headrace_broker.store.audit import AuditStore
from headrace_broker.store.brokers import BrokerStore
from headrace_broker.store.graph import GraphReads
from headrace_broker.store.logs import LogWriter
from headrace_broker.store.reads import Reads
from headrace_broker.store.saved_filters import SavedFilterStore
from headrace_broker.store.search import Finder
from headrace_broker.store.settings import SettingsStore
from headrace_broker.store.statistics import Statistics

SERVICES = [
    INSTANCES,
    TESTING,
    *(
        service.full_name
        for module in (
            jobs_pb2,
            agents_pb2,
            admin_pb2,
            doors_pb2,
            limits_pb2,
            stats_pb2,
            logs_pb2,
            access_pb2,
            schedules_pb2,
            graph_pb2,
            lifecycle_pb2,
            operations_pb2,
            filters_pb2,
            alerts_pb2,
            certificates_pb2,
            users_pb2,
            grants_pb2,
            brokers_pb2,
            externalscaler_pb2,
        )
        for service in module.DESCRIPTOR.services_by_name.values()
    ),
    health.SERVICE_NAME,
]


class RpcServer:
    """Serves on several addresses. `auth`: every call needs a token, or a certificate that says whose it is; `certificates`: connections show one."""

    def __init__(
        self, *, ownerships: Ownerships, reads: Reads, finder: Finder, graph: GraphReads, settings: SettingsStore, statistics: Statistics, logs: LogWriter,
        audit: AuditStore, metrics: Metrics, payload_limit: int, version: str, postgres_version: str, tasks: asyncio.TaskGroup, tokens: TokenTable, users: Users,
        grants: GrantTable, auth: bool, alerts: Sequence[AlertDesk], revocations: Revocations, certificates: bool, connections: ConnectionLimits, quotas: QuotaLimits,
        brokers: BrokerStore, saved_filters: SavedFilterStore, tls: Callable[[], Keys] | None, key: bytes, named: str,
    ) -> None:  # fmt: skip
        """`tls` gives what new connections are met with, in any thread; None: they are not encrypted. `key`: with which other brokers attest whose calls they pass on;
        `named`: what they call this one. `alerts`: of each shard."""
        self._tls = tls
        self._routes = [Routes(ownership, tls) for ownership in ownerships.each]
        gate = Gate(tokens, grants, Peers(revocations) if certificates else None, required=auth, key=key) if auth or certificates else None
        forwarders = [Forwarder(ownership, routes, metrics, named) for ownership, routes in zip(ownerships.each, self._routes, strict=True)]
        others = [Handlers() for _ in forwarders[1:]]
        choice = Choice(ownerships, forwarders, others) if others else None
        guard = Guard(metrics, gate, Quotas(quotas, metrics, asyncio.get_running_loop().time) if quotas else None, forwarders[0], choice)
        self._server = grpc.aio.server(interceptors=[guard], options=server_options(connections))
        self._health = health.aio.HealthServicer()
        submits: list[JobsService] = []
        for ownership, desk, to in zip(ownerships.each, alerts, [self._server, *others], strict=True):  # a server knows one handler of a name, `Choice` the others
            jobs = JobsService(ownership, reads, finder, payload_limit)
            submits.append(jobs)
            schedules_pb2_grpc.add_SchedulesServicer_to_server(SchedulesService(ownership, payload_limit), to)  # type: ignore[no-untyped-call]
            jobs_pb2_grpc.add_JobsServicer_to_server(jobs, to)  # type: ignore[no-untyped-call]
            agents_pb2_grpc.add_AgentsServicer_to_server(AgentsService(ownership, settings, logs, tasks), to)  # type: ignore[no-untyped-call]
            admin_pb2_grpc.add_AdminServicer_to_server(AdminService(ownership, reads, audit, payload_limit), to)  # type: ignore[no-untyped-call]
            limits_pb2_grpc.add_LimitsServicer_to_server(LimitsService(ownership), to)  # type: ignore[no-untyped-call]
            stats_pb2_grpc.add_StatsServicer_to_server(StatsService(ownership, statistics, version, postgres_version), to)  # type: ignore[no-untyped-call]
            graph_pb2_grpc.add_GraphServicer_to_server(GraphService(ownership, reads, graph, jobs), to)  # type: ignore[no-untyped-call]
            logs_pb2_grpc.add_LogsServicer_to_server(LogsService(ownership, reads, logs), to)  # type: ignore[no-untyped-call]
            lifecycle_pb2_grpc.add_LifecycleServicer_to_server(LifecycleService(ownership, reads, graph, payload_limit), to)  # type: ignore[no-untyped-call]
            operations_pb2_grpc.add_OperationsServicer_to_server(OperationsService(ownership, reads, finder), to)  # type: ignore[no-untyped-call]
            filters_pb2_grpc.add_FiltersServicer_to_server(FiltersService(SavedFilters(saved_filters, ownership)), to)  # type: ignore[no-untyped-call]
            add_instances(to, ownership)
            doors_pb2_grpc.add_DoorsServicer_to_server(DoorsService(ownership), to)  # type: ignore[no-untyped-call]
            add_testing(to, ownerships, audit)
            alerts_pb2_grpc.add_AlertsServicer_to_server(AlertsService(desk), to)  # type: ignore[no-untyped-call]
            externalscaler_pb2_grpc.add_ExternalScalerServicer_to_server(ScalerService(ownership), to)  # type: ignore[no-untyped-call]
        guard.full = lambda: full(submits)
        access_pb2_grpc.add_AccessServicer_to_server(AccessService(tokens, audit), self._server)  # type: ignore[no-untyped-call]
        certificates_pb2_grpc.add_CertificatesServicer_to_server(CertificatesService(revocations), self._server)  # type: ignore[no-untyped-call]
        grants_pb2_grpc.add_GrantsServicer_to_server(GrantsService(grants), self._server)  # type: ignore[no-untyped-call]
        brokers_pb2_grpc.add_BrokersServicer_to_server(BrokersService(brokers), self._server)  # type: ignore[no-untyped-call]
        users_pb2_grpc.add_UsersServicer_to_server(UsersService(users), self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection([*SERVICES, reflection.SERVICE_NAME], self._server)

    async def keep_routes(self) -> None:
        """Ends calls that were passed on to owners that are none any more, until cancelled; then all. Runs as long as calls are served."""
        async with asyncio.TaskGroup() as tasks:
            for routes in self._routes:
                tasks.create_task(routes.run())

    async def start(self, addresses: Sequence[str]) -> list[str]:
        """Listens; returns the addresses with the ports that were picked. Raises OSError for an address that cannot be had."""
        bound, tls = [], self._tls
        for address in addresses:
            try:
                port = self._server.add_secure_port(address, _credentials(tls)) if tls is not None else self._server.add_insecure_port(address)
            except RuntimeError as error:
                raise OSError(f"cannot listen on {address}: it is in use, or not an address of this machine") from error
            bound.append(address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}")
        await self.serving(False)
        await self._server.start()
        return bound

    async def serving(self, serving: bool) -> None:
        """What the health service says."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES[:-1]):
            await self._health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls, and ends those that still run after the grace."""
        await self._server.stop(grace_s)


def _credentials(tls: Callable[[], Keys]) -> Any:
    """Asked again at every handshake, so that a new certificate needs no new listener. Whether clients are asked for theirs is settled here, once.

    gRPC for Python either demands a certificate or asks for none: there is nothing between.
    """
    used = tls()

    def newer() -> Any:
        nonlocal used
        found = tls()
        if found == used:
            return None
        used = found
        return _configuration(found)

    return grpc.dynamic_ssl_server_credentials(_configuration(used), newer, require_client_authentication=used[2] is not None)


def _configuration(keys: Keys) -> Any:
    key, chain, client_ca = keys
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=client_ca)
