"""One settings file, read from the environment; nothing unparsable is guessed.

DJANGO_ENV is development (default), test or production. Production refuses to start with debug
pages, default or short keys, or no host names; `config.health` refuses a server that loses commits.
"""

import os
import sys
from datetime import date, timedelta
from pathlib import Path

import dj_database_url
from celery.schedules import crontab
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from config.embedded import Servers


def flag(name: str, default: bool) -> bool:
    """A boolean of the environment; a word that is neither yes nor no is refused."""
    text = os.environ.get(name, "").strip().lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    if text == "":
        return default
    raise ImproperlyConfigured(f"{name} must be true or false, not {text!r}.")


def number(name: str, default: int) -> int:
    """A whole number of the environment."""
    text = os.environ.get(name, "").strip()
    try:
        return int(text) if text else default
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {text!r}.") from None


def words(name: str, default: str = "") -> list[str]:
    """A comma separated list of the environment, without empty entries."""
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


def day(name: str) -> date | None:
    """An ISO date of the environment, or None when it is not set."""
    text = os.environ.get(name, "").strip()
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be an ISO date, not {text!r}.") from None


BASE_DIR = Path(__file__).resolve().parent.parent
ENVIRONMENT = os.environ.get("DJANGO_ENV", "development")
if ENVIRONMENT not in {"development", "test", "production"}:
    raise ImproperlyConfigured(
        f"DJANGO_ENV must be development, test or production, not {ENVIRONMENT!r}."
    )
PRODUCTION = ENVIRONMENT == "production"

# Database, broker, uploads, collected static files, logs and compiled code of this copy.
VAR_DIR = Path(os.environ.get("VAR_DIR") or BASE_DIR / "var").resolve()
(VAR_DIR / "logs").mkdir(parents=True, exist_ok=True)
os.environ.setdefault("NUMBA_CACHE_DIR", str(VAR_DIR / "numba"))  # read when numba is imported

DEBUG = flag("DEBUG", default=False)
DEFAULT_KEY = "this-key-is-public-and-only-for-development-and-tests-of-the-portal"
SECRET_KEY = os.environ.get("SECRET_KEY") or DEFAULT_KEY
# Key of personal fields at rest.
FIELD_KEY = os.environ.get("FIELD_KEY") or DEFAULT_KEY
FIELD_KEYS_OLD = words("FIELD_KEYS_OLD")  # newest first: what they encrypted stays readable
# Keyed hashes find persons in the register and in sealed events: they keep the first key for ever.
HASH_KEY = FIELD_KEYS_OLD[-1] if FIELD_KEYS_OLD else FIELD_KEY
# May a claim be settled by example parameters (示例参数)? Never where real money is paid.
EXAMPLE_PARAMETERS = flag("EXAMPLE_PARAMETERS", default=not PRODUCTION)
# Commands that wait for a calendar year: called with year, by, at when one was imported.
CALENDAR_LISTENERS = [
    "agreements.commands.refresh_unknown", "settlement.statement_steps.refresh_unknown",
    "settlement.reimbursements.refresh_unknown",
    "settlement.filings.refresh_unknown",
    "supervision.review_steps.refresh_unknown",
    "supervision.case_steps.refresh_unknown",
    "supervision.monthly.refresh_unknown",
    "supervision.complaints.refresh_unknown",
]  # fmt: skip
# What may hinder the closing of a settlement month besides its own books: period → [(code, sentence)].
PERIOD_CLOSE_CHECKS = ["audit.watch.hinders_closing"]
# The key that signs checkpoints of the trail (SM2, made at the first use) and the name of this log.
SEAL_KEY_FILE = os.environ.get("SEAL_KEY_FILE") or str(VAR_DIR / "seal-key.pem")
SEAL_ORIGIN = os.environ.get("SEAL_ORIGIN") or "medical-insurance-portal/trail"
# So long may the sealer stand still while events wait; then there is an alarm and no month is closed.
SEAL_STILL_SECONDS = number("SEAL_STILL_SECONDS", 300 if ENVIRONMENT != "test" else 86400)
TRAIL_ARCHIVE_DIR = os.environ.get("TRAIL_ARCHIVE_DIR") or str(VAR_DIR / "trail-archives")
TRAIL_NAMES = "institutions.naming.trail_names"  # what the people and places of events are called
PERSON_KEY = "institutions.crypto.person_key"  # how the trail finds a person by an ID number
# What else the acts on a subject stand under, and what a claim number means: text → subjects.
TRAIL_SUBJECTS = "settlement.batch.recheck.subjects_of"
ALLOWED_HOSTS = words("ALLOWED_HOSTS", "" if PRODUCTION else "localhost,127.0.0.1,[::1],testserver")
CSRF_TRUSTED_ORIGINS = words("CSRF_TRUSTED_ORIGINS")
# May a test make processes die at named places (settlement.failpoints)? Never in production.
FAIL_POINTS = flag("FAIL_POINTS", default=ENVIRONMENT == "test")
DEMO_TODAY = day("DEMO_TODAY")  # the fixed today of demonstration data

if PRODUCTION:
    if DEBUG:
        raise ImproperlyConfigured("Production refuses DEBUG: its pages show settings and data.")
    for name, key in (("SECRET_KEY", SECRET_KEY), ("FIELD_KEY", FIELD_KEY)):
        if key == DEFAULT_KEY or len(key) < 50 or len(set(key)) < 5:
            raise ImproperlyConfigured(
                f"Production needs its own random {name} of 50 characters or more."
            )
    if FAIL_POINTS or "FAILPOINT" in os.environ:
        raise ImproperlyConfigured("Production refuses FAIL_POINTS: they end processes on purpose.")
    if SECRET_KEY == FIELD_KEY:
        raise ImproperlyConfigured("Production needs a FIELD_KEY that differs from SECRET_KEY.")
    if not ALLOWED_HOSTS or "*" in ALLOWED_HOSTS:
        raise ImproperlyConfigured("Production needs ALLOWED_HOSTS: its host names, no wildcard.")

INSTALLED_APPS = [
    "config.apps.PortalConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "axes",
    "csp",
    "oauth2_provider",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "heroicons",
    "audit",
    "institutions",
    "pricing",
    "agreements",
    "settlement",
    "supervision",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "audit.access.OriginMiddleware",
    "config.throttle.AddressThrottle",
    "config.login.SessionEndsMiddleware",
    "institutions.access.ScopeMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
    "config.problems.RefusedMiddleware",
]

ROLE_TABLE = "config.roles.ROLES"
REGISTRY_LAW = "pricing.registry.law_of"  # what the registry asks of the law, which stands above it
# From how many days before the end of a qualification its holder is reminded: our own promise of service.
REGISTRY_WARN_DAYS = number("REGISTRY_WARN_DAYS", 60)
AGREEMENT_WARN_DAYS = number("AGREEMENT_WARN_DAYS", 60)  # the same before the end of an agreement
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
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
                "config.menu.page",
            ],
        },
    },
]

# --- Database and broker: the private servers of VAR_DIR unless the environment names others ---
SERVERS = {} if os.environ.get("DATABASE_URL") else Servers(VAR_DIR).urls()
DATABASE_URL = os.environ.get("DATABASE_URL") or SERVERS["DATABASE_URL"]
DATABASE_OWNER_URL = os.environ.get("DATABASE_OWNER_URL") or SERVERS.get(
    "DATABASE_OWNER_URL", DATABASE_URL
)
DATABASE_SETTLER_URL = os.environ.get("DATABASE_SETTLER_URL") or SERVERS.get(
    "DATABASE_SETTLER_URL", DATABASE_URL
)
REDIS_URL = os.environ.get("REDIS_URL") or Servers(VAR_DIR).urls()["REDIS_URL"]


def database(url: str, **options: str) -> dict[str, object]:
    """Django's settings for one role's address; connections are kept and checked before use."""
    found = dj_database_url.parse(
        url, engine="config.postgresql", conn_max_age=600, conn_health_checks=True
    )
    return {**found, "OPTIONS": {**options, **found.get("OPTIONS", {})}}


#: A prepared statement (audit/prepared.py) is planned once, not anew for each claim's values.
PLANNED_ONCE = "-c plan_cache_mode=force_generic_plan"

# Tables belong to the owner, so migrations run as the owner; nothing else does.
OWNER_COMMANDS = {
    "migrate", "makemigrations", "sqlmigrate", "showmigrations", "empty_archived",
}  # fmt: skip
AS_OWNER = sys.argv[1:2] != [] and sys.argv[1] in OWNER_COMMANDS
DATABASES = {
    "default": database(DATABASE_OWNER_URL if AS_OWNER else DATABASE_URL, options=PLANNED_ONCE),
    "settler": {**database(DATABASE_SETTLER_URL), "TEST": {"MIRROR": "default"}},
}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    if ENVIRONMENT == "test"
    else {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
}

# --- Celery: the database is the queue of record, the broker a doorbell ---
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 300, "unacked_restore_throttle": 1}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker outlives any outage of the broker
CELERY_RESULT_BACKEND = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True  # otherwise a killed child's task is lost
# Long registers are printed by workers of their own: settlement never waits for paper, and who prints
# never loads the compiled kernel (memory: docs/benchmarks.md, report.rss_mb).
CELERY_TASK_ROUTES = {
    f"supervision.{task}": {"queue": "reports"}
    for task in ("gather_report", "print_part", "finish_report")
}
CELERY_TASK_SOFT_TIME_LIMIT = 60
CELERY_TASK_TIME_LIMIT = 90
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 30
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_DB_REUSE_MAX = 1000  # without it the connection is closed after every task
CELERY_TIMEZONE = "Asia/Shanghai"
# A batch without any sign of work for so long is rung for again.
BATCH_STALE_SECONDS = number("BATCH_STALE_SECONDS", 20)
# A session of the settler that stands still in a transaction (a stopped host) is ended after this. With the
# sweep that follows its chunk is at work again within a minute.
SETTLER_IDLE_SECONDS = number("SETTLER_IDLE_SECONDS", 30)
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "beat-schedule")
CELERY_BEAT_SCHEDULE: dict[str, dict[str, object]] = {
    "sweep": {"task": "settlement.sweep", "schedule": float(BATCH_STALE_SECONDS)},
    "open_months": {"task": "settlement.open_months", "schedule": crontab(minute="40")},
    "resettlements": {"task": "settlement.sweep_resettlements", "schedule": 60.0},
    "register": {"task": "settlement.watch_register", "schedule": crontab(hour=0, minute=20)},
    "register_sheets": {"task": "settlement.sweep_register", "schedule": 60.0},
    "registry": {"task": "institutions.watch_registry", "schedule": crontab(hour=0, minute=40)},
    "imports": {"task": "institutions.sweep_imports", "schedule": 60.0},
    "deliver": {"task": "institutions.deliver", "schedule": 30.0},
    "seal": {"task": "audit.seal", "schedule": 20.0},
    "seal_watch": {"task": "audit.watch_seal", "schedule": 60.0},
    "seal_everything": {"task": "audit.seal_everything", "schedule": crontab(hour=3, minute=30)},
    "medicines": {"task": "settlement.watch_medicines", "schedule": crontab(minute="20")},
    # 00:35 in Shanghai, and every hour in case the portal stood still at that time
    "watch_overdue": {"task": "institutions.watch_overdue", "schedule": crontab(minute="35")},
    "watch_clocks": {"task": "agreements.watch_clocks", "schedule": crontab(minute="5")},
    "watch_terms": {"task": "agreements.watch_terms", "schedule": crontab(minute="10")},
    "watch_balance": {"task": "settlement.watch_balance", "schedule": crontab(hour=4, minute=10)},
    "watch_budgets": {"task": "settlement.watch_budgets", "schedule": crontab(hour=0, minute=50)},
    "watch_fee_bills": {"task": "settlement.watch_fee_bills", "schedule": crontab(minute="15")},
    "audit_claims": {"task": "supervision.nightly", "schedule": crontab(hour=1, minute=30)},
    "score_credit": {"task": "supervision.score_credit", "schedule": crontab(hour=2, minute=20)},
    "watch_conduct": {"task": "supervision.watch_conduct", "schedule": crontab(hour=2, minute=10)},
    "remind_monthly": {
        "task": "supervision.remind_monthly",
        "schedule": crontab(hour=0, minute=30),
    },
    "sweep_audits": {"task": "supervision.sweep_audits", "schedule": 60.0},
    "collect_reviews": {"task": "supervision.collect_reviews", "schedule": crontab(minute="*/15")},
    "reports": {"task": "supervision.sweep_reports", "schedule": 60.0},
    "watch_reviews": {"task": "supervision.watch_reviews", "schedule": crontab(minute="25")},
}
CELERY_IMPORTS = [
    "institutions.post",
    "audit.rounds",
    "supervision.review_tasks",
    "supervision.report_tasks",
]

# Who looks at a claim while it is settled (事中监督); empty: nobody. Tests name it where they mean it.
WATCHING = "" if ENVIRONMENT == "test" else "supervision.watch.judge"
SETTLEMENT_WATCH = os.environ.get("SETTLEMENT_WATCH", WATCHING)

# --- What leaves the portal: mail and webhooks (institutions.outbox) ---
PORTAL_URL = os.environ.get("PORTAL_URL", "").rstrip("/")  # before the addresses in messages
EMAIL_HOST = os.environ.get("EMAIL_HOST", "")
EMAIL_PORT = number("EMAIL_PORT", 587)
EMAIL_HOST_USER = os.environ.get("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = os.environ.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = flag("EMAIL_USE_TLS", default=True)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = os.environ.get("DEFAULT_FROM_EMAIL", "portal@localhost")
MAIL_LEAVES = bool(EMAIL_HOST) or not PRODUCTION  # without a server production queues no mail
MAIL_BACKEND = "smtp" if EMAIL_HOST else "filebased"
EMAIL_BACKEND = f"django.core.mail.backends.{MAIL_BACKEND}.EmailBackend"
EMAIL_FILE_PATH = VAR_DIR / "mail"
# Networks that webhooks may reach although they are not public (医保专网), e.g. 10.86.0.0/16
WEBHOOK_NETWORKS = words("WEBHOOK_NETWORKS")

# --- Who may enter ---
AUTH_USER_MODEL = "institutions.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "config.login.CharacterClassesValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
SESSION_COOKIE_AGE = 15 * 60  # idle: every request starts it anew (GB/T 22239 身份鉴别 b)
SESSION_SAVE_EVERY_REQUEST = True
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SESSION_ABSOLUTE_AGE = 8 * 60 * 60  # from log-in, however busy (config.login)

ACCOUNT_ADAPTER = "config.login.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = False  # no “remember me”: a session ends with the browser
ACCOUNT_RATE_LIMITS = {"login_failed": None}  # axes counts them, per account
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_TOTP_ISSUER = "互联网医疗医保监管与结算平台"

#: reports of misuse (and looks at their progress) from one address in an hour
REPORTS_PER_HOUR = 10
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = ["username"]  # a forged address must not reset the count
SILENCED_SYSTEM_CHECKS = ["axes.W006"]  # wants the address as well; the account alone is stricter
AXES_USERNAME_CALLABLE = "config.login.attempted_name"  # allauth says login, Django username
AXES_RESET_ON_SUCCESS = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

OAUTH2_PROVIDER_APPLICATION_MODEL = "institutions.ApiClient"
OAUTH2_PROVIDER = {
    "SCOPES": {
        "claims:read": "查询结算申请",
        "claims:write": "上报与冲正结算申请、上传凭据",
        "trial": "试算",
        "payments:read": "查询拨付给本机构的款项",
        "consultations:read": "查询本机构邀请或受邀的远程会诊",
        "consultations:write": "申请、办理、答复远程会诊，登记付款和票据",
        "lines:read": "查询本机构的专线与维保账单",
        "persons:read": "查询本机构就诊患者的参保状态（脱敏，每次留痕）",
        "institution:read": "查询本机构登记信息、协议和办理进度",
        "institution:write": "上传本机构材料、提交对码",
        "reports:read": "医保部门系统查询和下载监督报告、监管月报",
        "reports:write": "医保部门系统报送、接收、退回监管月报",
    },
    "SCOPES_BACKEND_CLASS": "institutions.grants.ClientScopes",
    "OAUTH2_VALIDATOR_CLASS": "institutions.grants.KeyValidator",
    "ACCESS_TOKEN_EXPIRE_SECONDS": 3600,
    "PKCE_REQUIRED": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "ALLOWED_REDIRECT_URI_SCHEMES": ["https"],
    # RFC 9700, each advice of it: among them no token in a URL and none stored in clear.
    **{
        f"COMPLIANT_BCP_RFC9700_{advice}": True
        for advice in (
            "IMPLICIT_GRANT",
            "PASSWORD_GRANT",
            "PKCE_METHOD",
            "PKCE_REQUIRED",
            "ACCESS_TOKEN_TRANSPORT",
            "AUTHZ_RESPONSE_ISS",
            "TOKEN_STORAGE",
            "REFRESH_TOKEN",
            "REDIRECT_URI_SCHEME",
            "REDIRECT_URI_MATCHING",
        )
    },
}

# --- REST ---
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["institutions.throttling.ClientThrottle"],
    "EXCEPTION_HANDLER": "config.problems.handle",
}
# How often one may ask (docs/decisions/throttling.md): a client of the interface, an address at the rest.
# An empty word in the environment lifts a limit; tests have none, one machine asks for everybody there.
THROTTLES = {
    name: os.environ.get(f"THROTTLE_{name.upper()}", usual if ENVIRONMENT != "test" else "")
    for name, usual in (
        ("client", "60000/minute"), ("client_low", "600/minute"), ("client_trial", "60/minute"),
        ("login", "120/minute"), ("token", "300/minute"), ("public", "1200/minute"),
    )
}  # fmt: skip
THROTTLED_PATHS = (
    ("/accounts/login/", "login"), ("/accounts/2fa/", "login"), ("/api/v1/oauth/", "token"),
    ("/public/", "public"),
)  # fmt: skip
SPECTACULAR_SETTINGS = {
    "TITLE": "互联网医疗医保监管与结算平台",
    "VERSION": "1.2.0",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# --- Pages ---
LANGUAGE_CODE = "zh-hans"
LANGUAGES = [("zh-hans", "简体中文"), ("en", "English")]
TIME_ZONE = "Asia/Shanghai"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_ROOT = VAR_DIR / "uploads"
# Names carry the content's hash: browsers keep files for ever. Compressing is the TLS proxy's part.
PLAIN, HASHED = "StaticFilesStorage", "ManifestStaticFilesStorage"
STATIC_CLASS = PLAIN if ENVIRONMENT == "test" else HASHED
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": f"django.contrib.staticfiles.storage.{STATIC_CLASS}"},
}
WHITENOISE_USE_FINDERS = ENVIRONMENT == "test" or DEBUG
FILE_UPLOAD_PERMISSIONS = 0o640
DATA_UPLOAD_MAX_MEMORY_SIZE = number("UPLOAD_MAX_BYTES", 8 * 1024 * 1024)

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_HTTPONLY = True
if PRODUCTION:
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
    SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    if flag("BEHIND_TLS_PROXY", default=False):
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- Logs: standard error, and a file of VAR_DIR that may be rotated from outside ---
LOG_HANDLERS = ["stderr"] if ENVIRONMENT == "test" else ["stderr", "file"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name} [{process}] {message}", "style": "{"}
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
        "file": {
            "class": "logging.handlers.WatchedFileHandler",
            "filename": VAR_DIR / "logs" / "portal.log",
            "formatter": "line",
            "delay": True,
            "encoding": "utf-8",
        },
    },
    "root": {"handlers": LOG_HANDLERS, "level": os.environ.get("LOG_LEVEL", "INFO").upper()},
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "pikepdf": {"level": "WARNING"},  # else a line for every process that loads it
    },
}
