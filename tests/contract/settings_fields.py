"""Every variable that a process family reads, taken from its settings module itself."""

import ast
import inspect
from types import ModuleType

from gateway.config import GatewaySettings
from gateway.contracts.environment import PREFIXES
from metering import __main__ as metering_main
from metering import config as metering_config
from portal.settings.env import Env


def _aliases(model: type[Env] | type[GatewaySettings]) -> frozenset[str]:
    return frozenset(str(field.alias) for field in model.model_fields.values())


def _named(*modules: ModuleType) -> frozenset[str]:
    """Return the variables that modules name; metering's settings have no model to ask."""
    nodes = [node for m in modules for node in ast.walk(ast.parse(inspect.getsource(m)))]
    texts = {str(node.value) for node in nodes if isinstance(node, ast.Constant)}
    return frozenset(t for t in texts if t.startswith(PREFIXES) and t.isupper() and " " not in t)


FAMILIES = {
    "portal": _aliases(Env),
    "gateway": _aliases(GatewaySettings),
    "metering": _named(metering_config, metering_main),
}
