"""One escape filter for each language a value is written in.

Each function takes a value and returns text that the language's own parser reads back as the same value.
What the language has no way to say is refused with :class:`Unsafe`; nothing is dropped or replaced.
"""

import keyword
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import PurePath

from .errors import Error
from .remote import kinds

# nginx reads its configuration through a buffer of this size; a word, with its
# opening quote, must be shorter.
NGINX_WORD_BYTES = 4096
NGINX_PLAIN = re.compile(r"[A-Za-z0-9_/.*-][A-Za-z0-9_/.*,:@%=+&?~-]*")
SYSTEMD_QUOTED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"})
NGINX_QUOTED = str.maketrans({"\\": r"\\", '"': r"\""})

# An expansion that yields nothing. It parts characters that mean something to
# supervisor when they stand side by side.
SUPERVISOR_NOTHING = "%(program_name).0s"
SUPERVISOR_COMMENT = re.compile(r"(?<=\s)(?=[;#])")

UWSGI_REPLACED = re.compile(r"[$@%]\(")
# What circus replaces in a command, and what begins a comment there.
CIRCUS_MEANS = re.compile(r"(?:(?<=[$(])(?=\(circus\.))|(?:(?<=\$)(?=WID))|(?:(?<=\s)(?=;))", re.IGNORECASE)

SHELL_READONLY = {"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"}


class Unsafe(Error):
    """A value cannot be written in a language.

    :param value: the value as it was given.
    :param language: the name of the filter that refused it, such as ``nginx``.
    :param reason: why, as the rest of a sentence that begins with the value.
    """

    def __init__(self, value: object, language: str, reason: str) -> None:
        self.value = value
        self.language = language
        self.reason = reason
        super().__init__(kinds.UNSAFE, f"{_shown(value, language)} cannot be written in {language}: {reason}")


def sh(value: object) -> str:
    """Return *value* as one word of the POSIX shell.

    :raises Unsafe: NUL, or text that is not Unicode.
    """
    return shlex.quote(_text(value, "sh"))


def sh_name(value: object) -> str:
    """Return *value*, the name of an environment variable that a shell can assign.

    :raises Unsafe: a name no shell can assign. Written into a script it might be run.
    """
    name = _text(value, "sh")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise Unsafe(value, "sh", "a variable's name is made of letters, digits and _, no digit first")
    if name in SHELL_READONLY:
        raise Unsafe(value, "sh", "shells do not let this variable be set")
    return name


def supervisor(value: object) -> str:
    """Return *value* for the right side of ``key=`` in a program section of supervisor's configuration.

    There must be no blank after the ``=``. An option that supervisor expands twice (``stdout_logfile``,
    ``stderr_logfile``) is filtered twice. ``command`` is split into words after expansion: give it words
    from :func:`sh`, joined with blanks.

    :raises Unsafe: a line break, NUL, or text that is not Unicode.
    """
    text = _text(value, "supervisor")
    if "\n" in text or "\r" in text:
        raise Unsafe(value, "supervisor", "a value is one line")
    escaped = text.replace("%", "%%")
    # %(here)s is replaced before %% is read, even inside %%(here)s.
    escaped = escaped.replace("%%(here)s", f"%%{SUPERVISOR_NOTHING}(here)s")
    # " ;" and " #" begin a comment anywhere in a line.
    escaped = SUPERVISOR_COMMENT.sub(SUPERVISOR_NOTHING, escaped)
    return _guard_ends(escaped)


def supervisor_environment(variables: Mapping[str, object]) -> str:
    """Return *variables* for supervisor's ``environment=``.

    This is for a few tame values. The application's own go through the launcher, which can carry all.

    :raises Unsafe: a value with ``"``, or with ``'`` at an end: supervisor's parser would drop them.
    """
    return supervisor(",".join(f'{sh_name(name)}="{_tame(value)}"' for name, value in variables.items()))


def nginx(value: object) -> str:
    """Return *value* as one parameter of an nginx directive, quoted where it has to be.

    nginx has no way to write a literal ``$`` where variables are expanded, so ``$`` is refused everywhere. A
    line break is refused because nginx copies it into response headers as it is.

    :raises Unsafe: ``$``, a line break, NUL, text that is not Unicode, or more than nginx reads as one word.
    """
    text = _text(value, "nginx")
    if "$" in text:
        raise Unsafe(value, "nginx", "$ begins a variable there and cannot be escaped")
    if "\n" in text or "\r" in text:
        raise Unsafe(value, "nginx", "a line break would start a new header")
    quoted = text if NGINX_PLAIN.fullmatch(text) else f'"{text.translate(NGINX_QUOTED)}"'
    if len(quoted.encode()) > NGINX_WORD_BYTES - 1:
        raise Unsafe(value, "nginx", f"nginx reads words of less than {NGINX_WORD_BYTES} bytes")
    return quoted


def python(value: object) -> str:
    """Return *value* as a Python literal in ASCII.

    :param value: str, int, float, bool or None, or a list or dict of these.
    :raises Unsafe: any other type, and the floats that have no literal (inf, nan).
    """
    _check_literal(value)
    return ascii(value)


def python_name(value: object) -> str:
    """Return *value*, a name that a Python file can assign.

    :raises Unsafe: anything else.
    """
    name = _text(value, "python")
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise Unsafe(value, "python", "it is not a name that can be assigned")
    return name


def logrotate(value: object) -> str:
    """Return *value*, a path, for use between double quotes in logrotate's configuration.

    :raises Unsafe: quotes, backslashes, line breaks, and characters that would make it a pattern.
    """
    text = _text(value, "logrotate")
    if re.search(r"""["'\\\r\n*?\[\]{}]""", text):
        raise Unsafe(value, "logrotate", "no quotes, backslashes, line breaks or *?[]{} are taken in a path")
    return text


def gaffer(value: object) -> str:
    """Return *value* for the right side of an option in Gaffer's ini file, which Python's configparser reads.

    :raises Unsafe: a line break, NUL, blanks at either end, and what would begin a comment.
    """
    text = _text(value, "gaffer")
    if len(text.splitlines()) > 1 or text != text.strip() or re.search(r"(^|\s)[;#]", text):
        raise Unsafe(value, "gaffer", "a value is one line; after a blank, ; begins a comment")
    return text.replace("%", "%%")


def uwsgi(value: object) -> str:
    """Return *value* for the right side of an option in uWSGI's ini file; true and false are words there.

    :raises Unsafe: a line break, NUL, blanks at either end, and what uWSGI would replace: ``$(``, ``@(``, ``%(``.
    """
    if isinstance(value, (bool, float)):
        return str(value).lower()
    text = _text(value, "uwsgi")
    if "\n" in text or text != text.strip(" \t\r"):
        raise Unsafe(value, "uwsgi", "a value is one line, without blanks at its ends")
    if found := UWSGI_REPLACED.search(text):
        raise Unsafe(value, "uwsgi", f"{found[0]} begins something that is replaced there and cannot be escaped")
    return text.replace("%", "%%")


def uwsgi_name(value: object) -> str:
    """Return *value*, a setting's name, as uWSGI writes the option: with ``-`` between words.

    :raises Unsafe: what is no name of an option.
    """
    name = _text(value, "uwsgi").replace("_", "-")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise Unsafe(value, "uwsgi", "an option's name is made of lower-case letters, digits and -")
    return name


def systemd(value: object) -> str:
    """Return *value* for the right side of a unit's setting that takes one value as it stands, such as a path.

    :raises Unsafe: what such a setting cannot hold: line breaks, blanks at either end, a backslash at the end.
    """
    return _systemd_line(value).replace("%", "%%")


def _systemd_text(value: object) -> str:
    text = _text(value, "systemd")
    if any(0xFDD0 <= ord(char) <= 0xFDEF or ord(char) & 0xFFFE == 0xFFFE for char in text):
        raise Unsafe(value, "systemd", "it drops a line with a number that Unicode keeps free of characters")
    return text


def _systemd_line(value: object) -> str:
    text = _systemd_text(value)
    if "\n" in text or "\r" in text or text != text.strip() or text.endswith("\\"):
        raise Unsafe(value, "systemd", "a value is one line, without blanks at its ends and a backslash at its end")
    return text


def systemd_word(value: object) -> str:
    """Return *value* as one word where a unit's setting takes several, such as ``ReadWritePaths=``.

    :raises Unsafe: NUL, or text that systemd does not take for Unicode.
    """
    quoted = _systemd_text(value).translate(SYSTEMD_QUOTED).replace("%", "%%")
    return f'"{quoted}"'


def systemd_argument(value: object) -> str:
    """Return *value* as one argument of ``ExecStart=``, where ``$`` begins a variable, too.

    :raises Unsafe: as :func:`systemd_word`.
    """
    return systemd_word(value).replace("$", "$$")


def systemd_setting(value: object) -> str:
    """Return *value* of a setting that the user has written for systemd itself, such as ``50%``: as it stands.

    :param value: true and false are written as systemd does.
    :raises Unsafe: what a setting cannot hold, as in :func:`systemd`.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _systemd_line(str(value) if isinstance(value, float) else value)


def circus(value: object) -> str:
    """Return *value* for the right side of ``key =`` in circus's configuration, where nothing can be quoted.

    :raises Unsafe: what such a value cannot hold: line breaks, blanks at either end, what circus replaces.
    """
    text = _text(value, "circus")
    if text != text.strip() or "\n" in text or "\r" in text or CIRCUS_MEANS.search(text) or text == '""':
        raise Unsafe(value, "circus", "a value is one line, without blanks at its ends, blank and ; and $(circus.…)")
    return text


def circus_word(value: object, kept: str = "") -> str:
    """Return *value* as one word of circus's ``cmd``.

    :param kept: what circus is to replace, where it is in the value.
    :raises Unsafe: a line break.
    """
    text = _text(value, "circus")
    if "\n" in text or "\r" in text:
        raise Unsafe(value, "circus", "a value is one line")
    parts = text.split(kept) if kept else [text]
    # What has a meaning is between single quotes by now: closing and opening them parts it.
    return kept.join(CIRCUS_MEANS.sub("''", sh(part)) for part in parts)


FILTERS: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        sh,
        sh_name,
        supervisor,
        supervisor_environment,
        nginx,
        python,
        python_name,
        logrotate,
        systemd,
        systemd_word,
        systemd_argument,
        uwsgi,
        uwsgi_name,
        gaffer,
        systemd_setting,
        circus,
        circus_word,
    )
}


def _shown(value: object, language: str) -> str:
    if language == "sh":  # the environment's files are written in sh, and secrets are among them
        return "a value"
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _text(value: object, language: str) -> str:
    text = str(value)  # an undefined template variable raises its own error here
    if isinstance(value, bool) or not isinstance(value, (str, int, PurePath)):
        raise Unsafe(value, language, f"expected text, a number or a path, found a {type(value).__name__}")
    if "\0" in text:
        raise Unsafe(value, language, "it holds a NUL character")
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        raise Unsafe(value, language, "it is not valid Unicode")
    return text


def _guard_ends(text: str) -> str:
    """Keep blanks at either end, which the parser strips, by putting nothing outside them."""
    before = SUPERVISOR_NOTHING if text[:1].isspace() else ""
    after = SUPERVISOR_NOTHING if text[-1:].isspace() else ""
    return f"{before}{text}{after}"


def _tame(value: object) -> str:
    text = _text(value, "supervisor")
    if '"' in text or text[:1] == "'" or text[-1:] == "'":
        raise Unsafe(value, "supervisor", "quotes are dropped by environment=")
    return text


def _check_literal(value: object) -> None:
    # Exact types: a subclass may print itself as anything.
    if type(value) is list:
        for item in value:
            _check_literal(item)
    elif type(value) is dict:
        for key, item in value.items():
            _check_literal(key)
            _check_literal(item)
    elif type(value) is float:
        if value - value != 0:
            raise Unsafe(value, "python", "it has no literal")
    elif value is not None and type(value) not in (str, int, bool):
        str(value)  # an undefined template variable raises its own error here
        raise Unsafe(value, "python", f"a {type(value).__name__} has no literal")
