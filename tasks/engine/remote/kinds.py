"""The catalogue of errors: each kind of them has a code, which ``fab explain`` and docs/errors.md go by.

A new kind takes the next free number of its section; a number is never given to another kind, for people search
for it. What happened in particular, and what to type next, is said where the error is raised.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of error.

    :ivar code: shown with each message.
    :ivar what: what happened, in one sentence.
    :ivar why: what causes it.
    :ivar remedy: what to do.
    """

    code: str
    what: str
    why: str
    remedy: str


# --- 0: what was typed -----------------------------------------------------------------------

ARGUMENT = Kind(
    "FR-001",
    "An argument or an option of the command cannot be used.",
    "It is missing, is no value that the command takes, or contradicts another one or the settings.",
    "See what the command takes: fab --help COMMAND",
)
NO_TERMINAL = Kind(
    "FR-002",
    "The command draws on a terminal, and there is none.",
    "Its output goes into a file, a pipe or the log of a CI job.",
    "Take the command without that option, or with --json.",
)
OTHER_PROGRAM = Kind(
    "FR-003",
    "A step was asked for that belongs to a program the host does not use.",
    "The steps gunicorn, supervisor, systemd and so on are for the hosts whose settings name that program.",
    "Run fab server, fab manager or fab proxy, which take the one that is set, or change web.server or manager.",
)
NO_STAGE = Kind(
    "FR-004",
    "There is no stage.",
    "A stage is a file hosts/STAGE.yml in this directory or one above it, and none was found.",
    "Go to the project's directory, or make a first stage: fab init",
)
WHICH_STAGE = Kind(
    "FR-005",
    "It is not clear which stage is meant.",
    "There are several, no -H was given, and no default_stage is set; or a host's name is in several; or -H names "
    "hosts of several for a command that changes one stage.",
    "Name the stage with -H, or set default_stage in hosts/all.yml.",
)
UNKNOWN_NAME = Kind(
    "FR-006",
    "No stage and no host has that name.",
    "It is misspelt, or the file hosts/STAGE.yml is not in this project.",
    "Take one of the names in the message; stages are the files in hosts/, hosts are listed in them.",
)
HOST_ALIVE = Kind(
    "FR-007",
    "A host that was to be left behind as dead answers.",
    "--continue-without is for hosts that nobody reaches: one that serves the old release beside the new one would "
    "give visitors two versions of the site.",
    "Leave --continue-without away; or shut the host down first.",
)
RELEASE = Kind(
    "FR-008",
    "That release cannot be gone to.",
    "No release or more than one has that name, it is live already, it is not on every host, or it never served.",
    "See the releases that there are, and which are good: fab releases",
)
NO_WAY_BACK = Kind(
    "FR-009",
    "There is no release to go back to.",
    "Only releases that have served traffic are gone back to. None was live before this one, or it was cleaned away, "
    "or the hosts have none in common.",
    "See what there is: fab releases; or deploy an older revision: fab deploy --ref REVISION",
)
UNWELL = Kind(
    "FR-010",
    "Something is not as it should be.",
    "fab status or fab doctor found problems, and said which.",
    "Read what is marked with ✗ above; fab doctor says what mends it.",
)
COMMAND_ENDED = Kind(
    "FR-011",
    "The command that fab run was given ended with another exit status than 0.",
    "The command itself says so; it was run as the application would run it.",
    "Read its output; fab ends with the same exit status.",
)
ROLE = Kind(
    "FR-012",
    "No host that was named has a role that the command needs.",
    "The server runs on app hosts, processes on worker hosts, the code is on both, and visitors come to the proxies "
    "where there are some.",
    "See the roles of the hosts: fab status; docs/roles.md tells what each is for.",
)

BACKUP_NAME = Kind(
    "FR-012",
    "No backup, or more than one, has that id.",
    "It is misspelt, newer ones have taken its place (backup.keep), or several hosts have one.",
    "See the backups that there are: fab backups; take one host of several: fab -H HOST restore",
)

# --- 1: settings, and what is on this machine ------------------------------------------------

SETTINGS = Kind(
    "FR-101",
    "The settings cannot be used.",
    "A stage file has an unknown key, a value of a wrong type, a missing or an unsafe value, or is no YAML. Nothing "
    "was connected to.",
    "Correct the line that the message names; docs/settings.md lists every key.",
)
SECRETS = Kind(
    "FR-102",
    "The secrets cannot be used.",
    "Their file, command or environment gives none, one that is needed is missing, or a line is no NAME=value.",
    "Correct the source that secrets: names; fab secrets shows the names that it has.",
)
CERTIFICATE = Kind(
    "FR-103",
    "The certificate cannot be used.",
    "It is not there, is not in PEM, has expired, is for other domains, is not in order, or its key is another's.",
    "Renew it for all of site.domains and site.redirect_domains, followed by its issuers; or take site.tls.acme.",
)
TEMPLATE = Kind(
    "FR-104",
    "A template cannot be rendered.",
    "A template of your own or of a driver is malformed, or asks for a variable or a template that is not there.",
    "Correct the line that the message names; docs/templates.md says what a template is given.",
)
UNSAFE = Kind(
    "FR-105",
    "A value cannot be written in a program's configuration.",
    "The language of that file has no way to say it, such as a line break in supervisor's.",
    "Change the value that the message shows.",
)
LOCAL_FILE = Kind(
    "FR-106",
    "A file that the settings name is not on this machine.",
    "Local paths are taken from the directory that holds hosts/; the file is not there, or was not checked out.",
    "Make the file, or correct the setting that the message names.",
)
PROCFILE = Kind(
    "FR-107",
    "The Procfile cannot be used.",
    "A line of it is no NAME: COMMAND, or a name is there twice.",
    "Correct the line that the message names.",
)
NO_REPOSITORY = Kind(
    "FR-108",
    "There is no git repository to deploy from.",
    "What is deployed is a commit. There is no repository where source.path says, or git is not installed here.",
    "Make one (git init, git add, git commit), or correct source.path.",
)
NOT_YOUR_REPOSITORY = Kind(
    "FR-109",
    "git does not open the repository, because it is another user's.",
    "git refuses a repository whose owner is not who runs it: its configuration could run programs.",
    "Run fab as the owner, or trust the directory: git config --global --add safe.directory DIRECTORY",
)
REVISION = Kind(
    "FR-110",
    "There is no such revision.",
    "No branch, tag or commit of the repository has that name; perhaps it was not fetched.",
    "See what there is (git log, git tag, git branch --all), and fetch what is missing: git fetch --tags",
)
REPOSITORY = Kind(
    "FR-111",
    "The repository cannot be sent.",
    "It is damaged, a shallow or partial clone, holds SHA-256 objects, or the revision holds submodules.",
    "Look at it: git fsck; complete a clone: git fetch --unshallow; put the files of submodules into the repository.",
)
DRIVER = Kind(
    "FR-112",
    "There is no such driver.",
    "A server, manager or proxy is named that neither fabrelease nor an installed package has, or its module is not "
    "one file.",
    "Correct the name, or install the package that has the driver beside fabrelease; docs/drivers.md tells more.",
)
PROJECT = Kind(
    "FR-113",
    "fab init cannot make a stage of this project.",
    "The directory is not there or cannot be written to, or there are several applications in it.",
    "Say which directory holds the application: fab init --source DIRECTORY",
)

BACKUP_SETTINGS = Kind(
    "FR-114",
    "The settings do not say how the database is backed up, or which it is.",
    "backup: is not set, the variable that it names is not in env: or the secrets, or is no address that the tool "
    "can use.",
    "Set backup:, and backup.database to the variable that holds the database's address (docs/databases.md).",
)
NO_MIGRATOR = Kind(
    "FR-115",
    "No hook is known to migrate the database.",
    "Migrations are reversed by Django or Alembic, whose command is looked for in hooks.before_switch.",
    "Write it by itself, like: python manage.py migrate --noinput; or go back without --with-migrations.",
)

# --- 2: from here to a host ------------------------------------------------------------------

UNREACHABLE = Kind(
    "FR-201",
    "The host cannot be reached.",
    "It is down, its address or port in the settings is wrong, or a firewall is between.",
    "Try by hand: ssh -p PORT USER@ADDRESS. Among several hosts, one that is dead can be left behind: fab deploy "
    "--continue-without NAME",
)
HOST_KEY_CHANGED = Kind(
    "FR-202",
    "The host's key is another one than before.",
    "The server was made anew, the address is another server's now, or somebody is listening in. It is never "
    "accepted by itself.",
    "Ask whoever runs the server for its key; when it is right, forget the old one: ssh-keygen -R ADDRESS",
)
HOST_KEY_UNKNOWN = Kind(
    "FR-203",
    "The host's key is not known.",
    "Nobody has logged in there from here yet; an unknown key is not trusted by itself.",
    "Compare and accept it once: ssh -p PORT USER@ADDRESS; in CI, put it into known_hosts; or set host_keys: "
    "accept-new.",
)
LOGIN_REFUSED = Kind(
    "FR-204",
    "The host refused the login.",
    "No key that was offered is in the user's authorized_keys there, the user is another one, or a key's file or "
    "passphrase is wrong.",
    "Try by hand: ssh -p PORT USER@ADDRESS; name a key with key: in the host's entry, or load it: ssh-add",
)
KEY_FILE = Kind(
    "FR-205",
    "The key to log in with cannot be read.",
    "The file that the settings or ssh_config name is not there, is not yours, or is no key.",
    "Correct key: in the host's entry, or the file's rights: chmod 600 FILE",
)
NO_SSH = Kind(
    "FR-206",
    "Something answers, but no SSH connection comes about.",
    "Another program listens on that port, the server is too busy to let anyone in, or both have no algorithm in "
    "common.",
    "Look at the port in the host's entry and at MaxStartups in its sshd_config; by hand: "
    "ssh -v -p PORT USER@ADDRESS",
)
LOGIN_SLOW = Kind(
    "FR-207",
    "The login or the start of a session takes too long.",
    "The server's PAM, its sudo or a shell's own files wait for something, often for a name server.",
    "Look at how long this takes and where it waits: ssh -v USER@ADDRESS sudo true",
)
SUDO = Kind(
    "FR-208",
    "The login user cannot become root.",
    "There is no sudo, the user is not allowed to use it, its password is wrong, or there is no terminal to ask for "
    "it on.",
    "Allow it on the host (sudo visudo), log in as root by user: in the host's entry, or run fab with "
    "--prompt-for-sudo-password.",
)
NO_PYTHON = Kind(
    "FR-209",
    "There is no Python on the host that is new enough.",
    "The remote side needs python3, 3.9 or newer.",
    "Have it installed: fab setup; an older system needs a newer release.",
)
LOGIN_SHELL = Kind(
    "FR-210",
    "The login shell starts no session.",
    "The user's shell is nologin or false, a forced command is in its place, or its own files end it.",
    "Look at it: getent passwd USER, ~/.ssh/authorized_keys; or log in as another user.",
)
SESSION_REFUSED = Kind(
    "FR-211",
    "The server let us in, but gives no session.",
    "MaxSessions in its sshd_config is too low, or it ended the connection itself.",
    "Look at MaxSessions (two are needed), and at the server's log: journalctl -u ssh",
)
CONNECTION_LOST = Kind(
    "FR-212",
    "The connection was lost in the middle.",
    "The network dropped, this machine slept, or the host went down. The host ends what was begun and drops the lock "
    "by itself; the site is the old or the new release as a whole.",
    "See what is live: fab status; then run the command again, which clears away what was left.",
)
TOO_LARGE = Kind(
    "FR-213",
    "More is to be sent at once than fits into one message.",
    "The files of shared.files are very large, or a host answers with far more than it should.",
    "Make the files smaller, or put them on the host by other means.",
)

# --- 3: a host that is prepared --------------------------------------------------------------

NOT_SET_UP = Kind(
    "FR-301",
    "The host is not prepared for this.",
    "fab setup was never run there, or before a setting or a version that needs more; or something was taken away by "
    "hand.",
    "Prepare it: fab setup; see what that changes: fab plan",
)
ROOT_TAKEN = Kind(
    "FR-302",
    "The application's directory is somebody else's.",
    "It holds files that fabrelease did not make, or was set up for another application, stage or project.",
    "Choose another root or app; where it is the same project under a new name: fab setup --take-over",
)
NOT_ROOTS = Kind(
    "FR-303",
    "Others than root can change what root would trust.",
    "A directory or file on the way to it belongs to somebody else, or its group or everybody may write there.",
    "Give it to root alone (sudo chown root, sudo chmod go-w), or choose another place.",
)
USER_TAKEN = Kind(
    "FR-304",
    "A user of that name is there and was not made for this application.",
    "setup makes the application's user and the one for builds; it takes over nobody else's.",
    "Choose another user in the settings, or remove the one that is not needed.",
)
IN_THE_WAY = Kind(
    "FR-305",
    "Something is in the way that fabrelease did not make.",
    "A file, directory or link stands where one of ours belongs. It is never overwritten.",
    "Look at it on the host, and move it away.",
)
PACKAGES = Kind(
    "FR-306",
    "Packages of the system could not be installed.",
    "Their source cannot be reached, does not have them, or another installation was interrupted.",
    "Look at the lines in the message; by hand: sudo apt-get update, sudo dpkg --configure -a; then fab setup.",
)
PACKAGES_BUSY = Kind(
    "FR-307",
    "Another process has been installing packages for too long.",
    "The system's package manager works for one at a time; often it is an automatic upgrade.",
    "Wait for it, or look at it: ps -fp PID; then do it again.",
)
NOT_REMOVED = Kind(
    "FR-308",
    "Something could not be removed whole.",
    "A file system is mounted in it, a file is immutable, or processes go on making more.",
    "Look at it on the host: findmnt, lsattr, ps -fu USER; then do it again.",
)
DISK_FULL = Kind(
    "FR-309",
    "The disk is full.",
    "No space, no inodes, or none of the user's quota is left. Nothing live was harmed.",
    "See where it went: df -h, df -i, du -xsh /*; remove old releases: fab cleanup, or lower keep_releases.",
)
READ_ONLY = Kind(
    "FR-310",
    "The file system cannot be written to.",
    "It is mounted read-only, often by the kernel after an error of the disk.",
    "Look at it: findmnt, sudo dmesg",
)
SYSTEM = Kind(
    "FR-311",
    "The host's operating system refused something.",
    "The message has its words, and the file that it is about.",
    "Look at that file and at the limits of the host: fab doctor",
)
PROGRAM_FAILED = Kind(
    "FR-312",
    "A program on the host failed or took too long.",
    "The message names it, with its last lines.",
    "Run it on the host by hand; look at the whole host: fab doctor",
)

# --- 4: a release that is built --------------------------------------------------------------

NOT_BUILT = Kind(
    "FR-401",
    "There is no complete release to work on.",
    "A step needs what the step before it made: push, then venv, server, manager, proxy, then switch.",
    "Run the steps before, or all of them: fab deploy",
)
INTERPRETER = Kind(
    "FR-402",
    "The Python that python.version asks for is not on the host.",
    "The system has another one, and it could not be fetched.",
    "Have it installed: fab setup; or change python.version, or set python.mirror.",
)
REQUIREMENTS = Kind(
    "FR-403",
    "The project's requirements cannot be installed from.",
    "The file is not in the revision, the installer cannot read its form, or it pins hashes but not for everything.",
    "Commit the file, correct python.requirements or python.installer, or pin all that is needed.",
)
ENVIRONMENT = Kind(
    "FR-404",
    "The virtualenv could not be made.",
    "A package is not to be had, does not build, contradicts another one, or reaches outside the virtualenv. What is "
    "live was not touched.",
    "Read the last lines of the installer in the message; try it here: pip install -r requirements.txt",
)
SHARED = Kind(
    "FR-405",
    "A shared directory or file cannot be linked into the release.",
    "Something in the revision or on the host is in its place, or it is nowhere to be had.",
    "Correct shared: in the settings, or take the file out of the repository.",
)
STATIC = Kind(
    "FR-406",
    "A package that site.static names is not in the release.",
    "module:directory means a directory of an installed package.",
    "Add the package to the requirements, or correct site.static.",
)
HOOK = Kind(
    "FR-407",
    "A command of the hooks failed.",
    "The message has the command, its exit status and its last lines. Before the switch nothing live was touched; "
    "after it, the new release is live.",
    "Try it in the live release: fab run 'COMMAND'; mend it, commit, and deploy again.",
)
ERROR_PAGE = Kind(
    "FR-408",
    "A page of site.error_pages cannot be used.",
    "It is not in the revision, is no plain file, or is too large.",
    "Name a file of the revision, or of what hooks.build makes, with all that it needs inside.",
)
APP_NOT_LOADED = Kind(
    "FR-409",
    "The server cannot load the application.",
    "Importing it fails: a module or a variable is missing, web.app names something else, or its own settings are "
    "wrong. What is live was not touched.",
    "Read the traceback in the message; try it here with the same environment: python -c 'import MODULE'",
)
SERVER_SETTINGS = Kind(
    "FR-410",
    "The server refuses its settings.",
    "A name or a value in web.settings is not one of the server's.",
    "See the server's own list of settings, which the message names; web.settings are passed on as they are.",
)
MANAGER_SETTINGS = Kind(
    "FR-411",
    "The manager refuses its configuration.",
    "A template of your own or a value in manager.settings is wrong, or another project's file is.",
    "Look at templates/ of your project; the message has the manager's own words.",
)
NGINX_SETTINGS = Kind(
    "FR-412",
    "nginx refuses the configuration of this site.",
    "A template of your own, a value under site: or the certificate is wrong. What is live was not touched.",
    "See the lines that nginx names: fab plan shows the files; templates/nginx/ are yours.",
)
NGINX_BROKEN = Kind(
    "FR-413",
    "nginx's configuration on the host is broken by another file.",
    "nginx is checked as a whole: a mistake in anybody's file keeps every site from being changed.",
    "Mend or remove the file that the message names; check it: sudo nginx -t",
)
DOMAIN_TAKEN = Kind(
    "FR-414",
    "A domain or path is served by another site already.",
    "Two sites of one nginx have the same domain on the same port, or two applications the same path.",
    "Choose another site.domains or site.path, or take it out of the other site and deploy that.",
)
PORT_TAKEN = Kind(
    "FR-415",
    "A port is taken by another program.",
    "nginx's or the server's port is in use by a program that is not ours.",
    "See who has it: sudo ss -ltnp; stop it, or choose another site.port or web.bind.",
)
ACME = Kind(
    "FR-416",
    "No certificate could be had.",
    "The authority asks each domain on port 80 of this host, so its DNS has to lead here, and no firewall may be "
    "between; it also limits how many it gives a week.",
    "Look at what is in the way: fab doctor; then deploy again.",
)
NO_PROCESSES = Kind(
    "FR-417",
    "A host for workers has nothing to run.",
    "It has the role worker alone, and neither the settings nor the revision's Procfile name processes.",
    "Name them: processes: {worker: …}; or take the host, or its role, out of the settings.",
)

BACKUP = Kind(
    "FR-417",
    "The database could not be backed up.",
    "The program that dumps it failed, wrote nothing or took too long, or there is no room on the disk. Nothing was "
    "migrated, and what is live was not touched.",
    "Read the program's last lines in the message; try it in the live release: fab run 'COMMAND'",
)
NOT_REVERSED = Kind(
    "FR-418",
    "Migrations could not be reversed.",
    "One has no way back, the releases' migrations went apart, or the command failed. Nothing was switched, and what "
    "was reversed was done again where that could be.",
    "Go back without --with-migrations, reverse them by hand, or restore a backup: fab backups",
)

# --- 5: a release that goes live, and one that is --------------------------------------------

LOCKED = Kind(
    "FR-501",
    "Somebody else is deploying.",
    "One command changes a host at a time. The lock goes by itself when its holder ends, is cut off or sleeps.",
    "Wait until it is done; see who it is: fab status",
)
FROZEN = Kind(
    "FR-502",
    "Deploys are frozen.",
    "Somebody ran fab freeze, and said why.",
    "Ask them; then lift it: fab unfreeze",
)
UNHEALTHY = Kind(
    "FR-503",
    "The new release does not answer as health: asks.",
    "It was started beside the old one and asked before anything was switched: it fails, is too slow, or answers "
    "with another status. The old release serves on, untouched.",
    "Read its answer and the last lines of its log in the message; correct the application, or health: in the "
    "settings.",
)
SITE_UNHEALTHY = Kind(
    "FR-504",
    "The site does not answer as health: asks through nginx.",
    "The release answers on its own socket, but not through nginx: redirects, authentication or a wrong path. It was "
    "switched back.",
    "Look at health: and site: in the settings, and at: fab logs",
)
NOT_SWITCHED_BACK = Kind(
    "FR-505",
    "Not all could be switched back: the live state needs a person.",
    "A cutover failed, and something on the way back failed, too.",
    "See what is live and what is down: fab status; then start it by hand as the message says, and fab doctor.",
)
MANAGER_DOWN = Kind(
    "FR-506",
    "The manager does not do as it is told.",
    "supervisor, systemd, circus or runit does not run, does not answer, or does not start a program.",
    "Look at it on the host, as the message says; then do it again.",
)
NOT_STOPPED = Kind(
    "FR-507",
    "Programs did not stop, though killed.",
    "A process waits in the kernel, often for a disk or a network file system.",
    "Look at it on the host: ps -eo pid,stat,wchan,cmd; the state D is the one that waits.",
)
NGINX_DOWN = Kind(
    "FR-508",
    "nginx does not take its new configuration.",
    "It does not run, cannot be reloaded, or its old workers go on.",
    "Look at it on the host: sudo nginx -t, journalctl -u nginx, /var/log/nginx/error.log",
)
NOTHING_LIVE = Kind(
    "FR-509",
    "Nothing is live.",
    "The command works on the live release, and nothing was deployed yet.",
    "Deploy first: fab deploy",
)
NOT_SCALED = Kind(
    "FR-510",
    "The number of workers could not be changed.",
    "The server cannot change it while it runs, the release does not run, or its workers do not come up.",
    "Set web.workers and deploy; see how it is: fab status, fab logs",
)
NOT_CLOSED = Kind(
    "FR-511",
    "Visitors are let in, though maintenance was switched on.",
    "The live release's nginx configuration is an earlier version's, or a template of your own without that part.",
    "Make it anew: fab deploy --force; docs/maintenance.md says what a template needs.",
)

NOT_RESTORED = Kind(
    "FR-512",
    "The backup could not be restored.",
    "It is not whole, was made by another tool than the settings name now, or the program that reads it failed.",
    "Read the program's last lines in the message; do it by hand from the file: fab backups --json says where it is.",
)

# --- 9: what nobody expects ------------------------------------------------------------------

FAULT = Kind(
    "FR-901",
    "This is a fault in fabrelease.",
    "Something happened that nobody thought of; you did nothing wrong.",
    "Please report it with all of the message. See what is live: fab status",
)

BY_CODE = {kind.code: kind for kind in vars().copy().values() if isinstance(kind, Kind)}
