"""Django settings, all taken from the environment through `gateway.env`."""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url

from gateway import env

_env = env.read(os.environ)

BASE_DIR = Path(__file__).resolve().parent.parent
COMPTROLLER = _env
"""Every setting of `env.REFERENCE` by its name."""

DATA_DIR: Path = _env["COMPTROLLER_DATA_DIR"]
PUBLIC_URL: str = _env["COMPTROLLER_PUBLIC_URL"] or "http://127.0.0.1:8000"
GATEWAY_URL: str = _env["COMPTROLLER_GATEWAY_URL"] or PUBLIC_URL
"""Where the data plane is; /anthropic and the like hang off it."""
SECRET_KEY = _env["COMPTROLLER_SECRET_KEY"]
DEBUG = _env["COMPTROLLER_DEBUG"]
_public_host = urlsplit(PUBLIC_URL).hostname or "127.0.0.1"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]", _public_host, *_env["COMPTROLLER_ALLOWED_HOSTS"]]
if _gateway_host := urlsplit(GATEWAY_URL).hostname:
    # It answers /v1/messages without the prefix with a hint.
    ALLOWED_HOSTS.append(_gateway_host)
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

INSTALLED_APPS = [
    "gateway",
    "observability",
    "governance",
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    # Daphne serves `runserver` only; elsewhere its Twisted would cost every process half a second of its start.
    *(["daphne"] if "runserver" in sys.argv else []),
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "rest_framework",
    "rest_framework.authtoken",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "django_prometheus",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "observability.middleware.probes_on_any_host",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "governance.middleware.AuditAddress",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "gateway.urls"
ASGI_APPLICATION = "gateway.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- stores -------------------------------------------------------------------------------------------------
_SQLITE_OPTIONS = {
    "timeout": 20,
    # IMMEDIATE takes the write lock at BEGIN: a transaction never fails half-way with "database is locked".
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-20000;",
}
if _env["DATABASE_URL"]:
    _database: dict[str, Any] = dict(
        dj_database_url.parse(_env["DATABASE_URL"], conn_max_age=60, conn_health_checks=True)
    )
else:
    _database = {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA_DIR / "comptroller.sqlite3"}
if _database["ENGINE"].endswith("sqlite3"):
    # Opening a connection costs more than a query: threads keep theirs.
    _database["CONN_MAX_AGE"] = None
    _database["OPTIONS"] = _SQLITE_OPTIONS
    # A file, as in production: threads of an in-memory database share one cache and fail where a file would wait.
    _database["TEST"] = {"NAME": DATA_DIR / "test.sqlite3"}
DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

if _env["REDIS_URL"]:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [_env["REDIS_URL"]]},
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# --- background tasks ---------------------------------------------------------------------------------------
CELERY_BROKER_URL = _env["CELERY_BROKER_URL"] or _env["REDIS_URL"] or "filesystem://localhost"
if CELERY_BROKER_URL.startswith("filesystem:"):
    _queue = DATA_DIR / "queue"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(_queue / "messages"),
        "data_folder_out": str(_queue / "messages"),
        "control_folder": str(_queue / "control"),
    }
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
DJANGO_CELERY_BEAT_TZ_AWARE = True

# --- e-mail -------------------------------------------------------------------------------------------------
_email: dict[str, Any] = _env["COMPTROLLER_EMAIL_URL"] or {}
EMAIL_HOST = _email.get("EMAIL_HOST", "")
"""Empty: no mail server is set, and governance.alerts says so."""
EMAIL_PORT = _email.get("EMAIL_PORT", 25)
EMAIL_HOST_USER = _email.get("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = _email.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = _email.get("EMAIL_USE_TLS", False)
EMAIL_USE_SSL = _email.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = _env["COMPTROLLER_EMAIL_FROM"] or f"comptroller@{_public_host}"

# --- people -------------------------------------------------------------------------------------------------
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
SESSION_COOKIE_AGE = int(timedelta(hours=12).total_seconds())
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC_URL.startswith("https://")
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

LANGUAGE_CODE = "en-us"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Comptroller management API",
    "VERSION": "v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    # The docs page loads its parts from the sidecar package, not from a CDN, and asks no validator outside.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},
    # Names for generated clients where a field of the same name has other choices elsewhere.
    "ENUM_NAME_OVERRIDES": {
        "CustomerContentPolicy": "governance.models.Customer.ContentPolicy",
        "KeyContentPolicy": "governance.models.VirtualKey.ContentPolicy",
        "ExportStatus": "observability.models.LogExport.Status",
        "AlertKind": "governance.models.Alert.Kind",
        "AlertChannelKind": "governance.models.AlertChannel.Kind",
        "RaiseKind": "governance.models.Raise.Kind",
        "RaiseStatus": "governance.models.Raise.Status",
        "ProposalStatus": "governance.models.PriceProposal.Status",
        "RequestStatus": "observability.models.Request.Status",
        "LimitScope": "governance.models.ScopedLimit.Scope",
        "RouteScope": "governance.models.RoutingRule.Scope",
        "PerTime": "governance.models.RateLimit.Per",
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": _env["COMPTROLLER_LOG_LEVEL"]},
    # Two lines for every sweep of every minute are worth reading at DEBUG only.
    "loggers": {
        name: {"level": "DEBUG" if _env["COMPTROLLER_LOG_LEVEL"] == "DEBUG" else "WARNING"}
        for name in ("celery.app.trace", "celery.beat", "celery.worker.strategy", "kombu")
    }
    # They write the whole address of each request, and that of a Slack webhook is a secret.
    | {name: {"level": "WARNING"} for name in ("httpx", "httpcore")},
}
PROMETHEUS_EXPORT_MIGRATIONS = False

# UNFOLD (site title, grouped navigation, dashboard) is in gateway.navigation: it needs no environment.
from gateway.navigation import UNFOLD  # noqa: E402, F401
