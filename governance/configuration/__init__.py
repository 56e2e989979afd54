"""Configuration as code: a YAML file to rows and back, by name, in one transaction."""

from governance.configuration.apply import Outcome, apply
from governance.configuration.document import parse
from governance.configuration.errors import ConfigurationError
from governance.configuration.export import export

__all__ = ["ConfigurationError", "Outcome", "apply", "export", "parse"]
