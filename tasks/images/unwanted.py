"""What no image needs, and what nobody may find in one: lines of an ignore file, with why."""

SECRETS = (
    ("**/.env", "settings, with passwords"),
    ("**/.env.*", "settings, with passwords"),
    ("**/*.pem", "keys and certificates"),
    ("**/*.key", "private keys"),
    ("**/*.p12", "private keys"),
    ("**/*.pfx", "private keys"),
    ("**/id_rsa*", "private keys of SSH"),
    ("**/id_ed25519*", "private keys of SSH"),
    ("**/.ssh", "private keys of SSH"),
    ("**/.aws", "credentials of AWS"),
    ("**/.netrc", "passwords of servers"),
    ("**/.pgpass", "passwords of databases"),
    ("**/.htpasswd", "passwords of users"),
)
# Named like secrets, and made to be shown.
EXAMPLES = ("**/.env.example", "**/.env.sample", "**/.env.template", "**/.env.dist")
KNOWN = (
    ("**/.git", "history of the sources"),
    ("**/node_modules", "packages of npm, installed by a build"),
    ("**/__pycache__", "byte code of another Python"),
    ("**/*.pyc", "byte code of another Python"),
    ("**/.venv", "a virtual environment of this machine"),
    ("**/.pytest_cache", "cache of a tool"),
    ("**/.mypy_cache", "cache of a tool"),
    ("**/.ruff_cache", "cache of a tool"),
    ("**/.hypothesis", "cache of a tool"),
    ("**/.tox", "environments of a tool"),
    ("**/.nox", "environments of a tool"),
    ("**/.terraform", "programs and state of a tool"),
    ("**/.coverage", "measurements of tests"),
    ("**/htmlcov", "measurements of tests"),
    ("**/.idea", "settings of an editor"),
    ("**/.vscode", "settings of an editor"),
    ("**/.DS_Store", "settings of a desktop"),
    ("**/*.swp", "files of an editor"),
    ("**/*.log", "logs"),
    ("**/*.dump", "dumps of a database"),
    ("**/*.sql.gz", "dumps of a database"),
    ("**/*.sql.zst", "dumps of a database"),
    ("**/*.backup", "dumps of a database"),
    ("**/*.bak", "copies"),
    ("**/backups", "backups"),
)
VIRTUAL_ENVIRONMENT = "pyvenv.cfg"  # each has one
