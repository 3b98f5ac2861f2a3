# shellcheck shell=sh
# Functions that install the packages that Bargein needs and that are missing. The other scripts in bin/ source
# this file from the root of the checkout. It is not a command of its own.
#
#   set_up EXTRA        make .venv and install Bargein in it, with this extra of pyproject.toml ('': none)
#   set_up_ci           in CI, install the system packages without which some tests are skipped
#   set_up_sound        install the sound server that tests/sound needs, if possible
#
# If everything is there, set_up computes one checksum and starts Python once; see `is_set_up`.
# The functions print to standard error. The output of pip and of the package managers goes to $log.

oldest_python=3.11
command=bin/${0##*/}
root=$(pwd -P)
stamp=.venv/set-up
lock=.setup.lock
log=.setup.log
python=
# A command that can do without sound devices sets this to "optional". Where PyAudio cannot be compiled,
# its set-up then goes on without PyAudio ("none"), and writes "demo" into the stamp instead of "core".
sound=needed

say() { printf '%s: %s\n' "$command" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# Runs a command and writes its output to the log. The command does not inherit the lock: a daemon
# that a package starts would hold it for ever.
quietly() { "$@" >>"$log" 2>&1 </dev/null 9>&-; }

# Prints the last lines of the log and one line that says what failed, and exits.
die_with_log() {
    tail -n 8 "$log" | sed 's/^/    /' >&2
    die "$* (all of the output: $root/$log)"
}

# --- is everything there? -----------------------------------------------------------------------------

# Prints what a set-up depends on: pyproject.toml, Python's version and the checkout's path. Python is
# asked for its version: after the system's Python was upgraded, .venv/bin/python still runs, but
# without the packages.
fingerprint() {
    printf '%s, Python %s, in %s\n' "$(cksum <pyproject.toml)" \
        "$(.venv/bin/python -I -S -c 'import sys; sys.stdout.write(sys.version.split()[0])' 2>/dev/null)" \
        "$root"
}

# Succeeds if .venv was set up here, by this Python, from this pyproject.toml, with extra $1 ("": none).
is_set_up() {
    [ -x .venv/bin/python ] && [ -r "$stamp" ] || return 1
    made_from='' extras=''
    { read -r made_from && read -r extras; } <"$stamp" || return 1
    case " $extras " in
        *" ${1:-core} "*) ;;
        *" demo "*) [ "$sound" = optional ] || return 1 ;;
        *) return 1 ;;
    esac
    [ "$made_from" = "$(fingerprint)" ]
}

# --- Python -------------------------------------------------------------------------------------------

# A program that prints these facts about Python, one on each line: its version, its base_prefix, "yes"
# if it can make a virtual environment, the folder of its C headers, its C compiler. It runs on every
# Python, so that a Python that is too old can report its version.
about_python='
import sys
def can(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True
print("%d.%d" % sys.version_info[:2])
print(getattr(sys, "base_prefix", sys.prefix))
print("yes" if can("venv") and can("ensurepip") else "no")
try:
    import sysconfig
    print(sysconfig.get_path("include"))
    print((sysconfig.get_config_var("CC") or "cc").split()[0])
except ImportError:
    print("/nonexistent")
    print("cc")
'

new_enough() { # $1: 3.12
    [ "${1%%.*}" -gt "${oldest_python%%.*}" ] ||
        { [ "${1%%.*}" -eq "${oldest_python%%.*}" ] && [ "${1#*.}" -ge "${oldest_python#*.}" ]; }
}

# Sets python, version, prefix, can_venv, include and compiler. The first python3 on PATH is tried
# first.
find_python() {
    if [ -n "${PYTHON-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.14 python3.13 python3.12 python3.11 python
    fi
    found=
    for python; do
        # A command on PATH may still not run: pyenv has a stand-in for each version that it knows.
        about=$(command -v "$python" >/dev/null && "$python" -c "$about_python" 2>/dev/null) || continue
        {
            read -r version
            read -r prefix
            read -r can_venv
            read -r include
            read -r compiler
        } <<END
$about
END
        case $version in [0-9]*.[0-9]*) ;; *) continue ;; esac
        if new_enough "$version"; then
            python=$(command -v "$python")
            return
        fi
        found="$found${found:+, }$python $version"
    done
    install='install one'
    find_manager
    if [ -z "$found" ] && [ -n "$manager" ]; then
        install="install one (run '$(install_command python3)' as root)"
    fi
    die "needs Python $oldest_python or newer, and found ${found:-none as ${PYTHON:-python3}}:" \
        "$install, or name one with PYTHON=/path/to/python3 $command"
}

# --- one set-up at a time -----------------------------------------------------------------------------

# A run with sudo leaves files that belong to root in the user's folder.
die_not_ours() { die "cannot write to files in $root: run \"sudo chown -R $(id -u) '$root'\""; }

# Python takes the lock, because macOS has no flock(1). The lock lasts as long as file descriptor 9 of
# this shell, so a set-up that is killed leaves no lock behind.
take_lock() {
    if ! (: >>"$lock" && : >>"$log") 2>/dev/null; then
        if [ -w . ]; then die_not_ours; fi
        die "cannot write in $root, and it is not set up: set it up as its owner (ls -ld '$root')," \
            "or copy it to a folder of your own"
    fi
    exec 9>>"$lock"
    if ! "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null; then
        say "another set-up is running here; waiting until it has finished"
        "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' || die "cannot lock $root/$lock"
    fi
    : >"$log"
}

release_lock() { exec 9>&-; }

# --- system packages ----------------------------------------------------------------------------------

find_manager() {
    for manager in apt-get dnf pacman; do
        if command -v "$manager" >/dev/null; then return; fi
    done
    manager=
}

# Sets sudo to the words that run a command as root ('' if this is root). Fails if that is not possible.
# With "ask", sudo may ask for a password at the terminal.
find_root() {
    sudo=
    if [ "$(id -u)" -eq 0 ]; then return 0; fi
    command -v sudo >/dev/null || return 1
    if sudo -n true 2>/dev/null; then
        sudo='sudo -n'
    elif [ "${1-}" = ask ] && [ -t 0 ] && [ -t 2 ]; then
        say "sudo may ask for your password"
        sudo -v || return 1
        sudo=sudo
    else
        return 1
    fi
}

# Prints the command with which a person installs packages $*. A new machine has no list of packages
# yet, so apt-get needs "update" first.
install_command() {
    case $manager in
        apt-get) echo "apt-get update && apt-get install $*" ;;
        dnf) echo "dnf install $*" ;;
        pacman) echo "pacman -S $*" ;;
    esac
}

# Installs packages $*. It removes none: on a desktop, PulseAudio could replace another sound server.
install_packages() {
    say "installing $* with $manager${sudo:+ and sudo}"
    # shellcheck disable=SC2086 # $sudo is a command and its option, or nothing
    case $manager in
        apt-get)
            apt_install() {
                quietly $sudo env DEBIAN_FRONTEND=noninteractive apt-get -y -q \
                    -o DPkg::Lock::Timeout=300 --no-install-recommends --no-remove install "$@"
            }
            # The list of packages may be too old. In a new container there is none.
            apt_install "$@" || { quietly $sudo apt-get -q update && apt_install "$@"; }
            ;;
        dnf) quietly $sudo dnf -y install "$@" ;;
        pacman)
            # A new list of packages would leave a system half upgraded. Only fetch it where there
            # is none yet, as in a new container.
            [ -n "$(ls /var/lib/pacman/sync/*.db 2>/dev/null)" ] || quietly $sudo pacman -Sy --noconfirm
            quietly $sudo pacman -S --noconfirm --needed "$@"
            ;;
    esac
}

can_include() { printf '#include <%s>\n' "$1" | "$compiler" -E -x c - >/dev/null 2>&1; }

has_portaudio_header() {
    for folder in /usr/include /usr/local/include; do # where PyAudio's own set-up looks
        if [ -r "$folder/portaudio.h" ]; then return; fi
    done
    can_include portaudio.h
}

# The package manager can only add to the system's own Python. Exits if Python is another one.
system_python_or_die() { # $1: what Python lacks
    [ "$prefix" = /usr ] || die "$python (Python $version) lacks $1:" \
        "add them to it, or name another one with PYTHON=/path/to/python3 $command"
}

# Goes on without sound devices if this command can; fails if it cannot. $* says why.
do_without_sound() {
    [ "$sound" = optional ] && [ "$can_venv" = yes ] || return 1
    sound=none
    packages=
    say "$*: going on without PortAudio, so without your microphone and speaker. Files take their place"
}

# Sets packages to the system packages that are missing on Linux. PyAudio has no wheel for Linux: pip
# compiles it, which needs the headers of Python and of PortAudio.
missing_on_linux() {
    packages=
    find_manager
    if [ "$can_venv" = no ]; then
        system_python_or_die "the modules venv and ensurepip"
        case $manager in
            apt-get) packages="$packages python$version-venv" ;;
            *) die "$python (Python $version) lacks the modules venv and ensurepip: install them" ;;
        esac
    fi
    if .venv/bin/python -c 'import pyaudio' 2>/dev/null; then return; fi
    missing=
    if ! can_include stdio.h; then
        missing='a C compiler'
        case $manager in
            apt-get) packages="$packages gcc libc6-dev" ;;
            *) packages="$packages gcc" ;;
        esac
    fi
    if ! [ -r "$include/Python.h" ]; then
        missing="$missing${missing:+, }Python's headers"
        if [ "$prefix" != /usr ] && do_without_sound "$python lacks its C headers"; then return; fi
        system_python_or_die "its C headers ($include/Python.h)"
        case $manager in
            apt-get) packages="$packages python$version-dev" ;;
            dnf)
                if /usr/bin/python3 --version 2>/dev/null | grep -q " $version\\."; then
                    packages="$packages python3-devel"
                else
                    packages="$packages python$version-devel"
                fi
                ;;
            *) packages="$packages python" ;;
        esac
    fi
    if ! has_portaudio_header; then
        missing="$missing${missing:+, }PortAudio's headers"
        case $manager in
            apt-get) packages="$packages portaudio19-dev" ;;
            dnf) packages="$packages portaudio-devel" ;;
            *) packages="$packages portaudio" ;;
        esac
    fi
    if [ -n "$missing" ] && [ -z "$manager" ]; then
        if do_without_sound "this system lacks $missing"; then return; fi
        die "PyAudio must be compiled, and this system lacks $missing. It has none of apt-get, dnf" \
            "and pacman: install $missing, then run $command again"
    fi
}

set_up_linux() {
    missing_on_linux
    if [ -z "$packages" ]; then return; fi
    # shellcheck disable=SC2086 # a list of names without spaces
    set -- $packages
    if ! find_root ask; then
        why="system packages are missing, and sudo does not work here"
        do_without_sound "$why (for sound, run '$(install_command "$@")' as root, then bin/start)" ||
            die "$why: run '$(install_command "$@")' as root, then $command again"
    elif ! install_packages "$@"; then
        do_without_sound "$manager could not install $* (see $root/$log)" ||
            die_with_log "$manager could not install $*:" \
                "correct what the lines above report, then run $command again"
    fi
}

set_up_macos() {
    if .venv/bin/python -c 'import pyaudio' 2>/dev/null; then return; fi
    if ! xcode-select -p >/dev/null 2>&1; then
        do_without_sound "there is no compiler (for sound, run 'xcode-select --install')" && return
        die "PyAudio must be compiled, and there is no compiler:" \
            "run 'xcode-select --install', then $command again"
    fi
    if ! command -v brew >/dev/null; then
        do_without_sound "PyAudio needs PortAudio from Homebrew, and there is no Homebrew" && return
        die "PyAudio needs PortAudio from Homebrew, and there is no" \
            "Homebrew: install Homebrew, then run $command again"
    fi
    if brew --prefix --installed portaudio >/dev/null 2>&1; then return; fi
    say "installing portaudio with Homebrew"
    quietly brew install portaudio || die_with_log "Homebrew could not install portaudio:" \
        "correct what the lines above report, then run $command again"
}

# --- .venv --------------------------------------------------------------------------------------------

# Succeeds if packages can be installed into .venv. After the checkout was moved they cannot: the
# commands in .venv name the Python at the old place.
venv_works() {
    .venv/bin/python -m pip --version >/dev/null 2>&1 || return 1
    new_enough "$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" || return 1
    if [ -r "$stamp" ]; then
        read -r made_from <"$stamp"
        case $made_from in *", in $root") ;; *) return 1 ;; esac
    fi
}

pip_install() {
    quietly .venv/bin/python -m pip install --no-input --disable-pip-version-check "$@"
}

# Installs Bargein and the packages that it needs, except PyAudio.
install_without_sound() {
    .venv/bin/python -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    needed = tomllib.load(file)["project"]["dependencies"]
print("\n".join(name for name in needed if not name.lower().startswith("pyaudio")))
' >.venv/without-sound.txt && pip_install --requirement .venv/without-sound.txt &&
        pip_install --no-deps --editable .
}

# Exits with one line if the log tells why pip failed, unless the failure concerns PyAudio alone.
die_if_known() {
    in_log() { grep -qE "$1" "$log"; }
    why=
    if in_log 'No space left on device|Disk quota exceeded'; then
        why="the disk is full: make room in $root and in ${TMPDIR:-/tmp} (2 GB are enough)"
    elif ! in_log 'from versions: none|Max retries exceeded|ReadTimeoutError|[Rr]ead timed out'; then
        return 0
    elif in_log 'CERTIFICATE_VERIFY_FAILED|certificate verify failed'; then
        why='it does not trust the certificate of the package index: if a proxy inspects TLS,'
        why="$why set PIP_CERT to a file with its certificate"
    elif in_log 'ProxyError|Tunnel connection failed'; then
        why='the proxy does not let it through: correct https_proxy (with user:password@, if the proxy asks)'
    elif in_log 'NewConnectionError|NameResolutionError|[Tt]imed out|TimeoutError|Connection ?(reset|Reset|broken)'; then
        why='it does not reach the package index: check the network'
    fi
    if [ -z "$why" ]; then return 0; fi
    die "pip could not install Bargein into .venv: $why, then run $command again" \
        "(all of the output: $root/$log)"
}

set_up_venv() { # $1: the extra, or nothing
    if [ -d .venv ] && ! { [ -r .venv ] && [ -w .venv ]; }; then die_not_ours; fi
    if ! venv_works; then
        # Another checkout's .venv, to which a link leads, must not be emptied.
        if [ -L .venv ]; then rm .venv; fi
        say "making .venv with Python $version ($python)"
        quietly "$python" -m venv --clear .venv || die_with_log "Python could not make $root/.venv:" \
            "correct what the lines above report, then run $command again"
    fi
    rm -f "$stamp" # from here on, the old set-up is no longer complete
    say "installing Bargein${1:+, its $1 tools} and the packages it uses into .venv"
    if [ "$sound" = none ] || ! pip_install --editable ".${1:+[$1]}"; then
        if [ "$sound" != none ]; then die_if_known; fi
        if [ "$sound" = none ] || do_without_sound "pip could not install everything"; then
            install_without_sound || { die_if_known; false; }
        else
            false
        fi || die_with_log "pip could not install Bargein into .venv:" \
            "correct what the lines above report, then run $command again"
    fi
    if [ "$sound" = none ]; then
        printf '%s\ndemo\n' "$(fingerprint)" >"$stamp"
        return
    fi
    quietly .venv/bin/python -c 'import pyaudio' || die_with_log "PyAudio is installed but does not" \
        "load: remove $root/.venv and run $command again"
    printf '%s\n%s\n' "$(fingerprint)" "core${1:+ $1}" >"$stamp"
}

set_up() { # $1: the extra, or nothing
    if is_set_up "$1"; then return; fi
    find_python
    take_lock
    # take_lock may have waited for another set-up, which has installed everything.
    if ! is_set_up "$1"; then
        say "setting up, in $root; the first time takes a minute or two"
        case $(uname -s) in
            Linux) set_up_linux ;;
            Darwin) set_up_macos ;;
        esac
        set_up_venv "$1"
        say "set up"
    fi
    rm -f "$log"
    release_lock
}

# --- more system packages, for the tests --------------------------------------------------------------

# With CI=true, installs packages $3… if one of the commands in $1 is missing. $2 says what the tests do
# without them. A failure is not fatal.
in_ci_install() {
    if [ "${CI-}" != true ] || [ "$(uname -s)" != Linux ]; then return; fi
    missing=
    for tool in $1; do
        command -v "$tool" >/dev/null || missing=$tool
    done
    without=$2
    shift 2
    find_manager
    if [ -z "$missing" ] || [ -z "$manager" ] || ! find_root; then return; fi
    if [ -z "$python" ]; then python=$root/.venv/bin/python; fi
    take_lock
    install_packages "$@" || say "no $missing: $without"
    rm -f "$log"
    release_lock
}

set_up_ci() {
    in_ci_install ip "tests/process uses loopback as the network between two machines" iproute2
    in_ci_install "node npm" "the tests of the examples in JavaScript are skipped" nodejs npm
    in_ci_install chromium "the test of the page in a browser is skipped" chromium
    in_ci_install mosquitto "the test of the MQTT bridge is skipped" mosquitto
}

# --- the sound server, for the tests ------------------------------------------------------------------

has_alsa_pulse_plugin() {
    for plugin in /usr/lib/*/alsa-lib/libasound_module_pcm_pulse.so \
        /usr/lib*/alsa-lib/libasound_module_pcm_pulse.so; do
        if [ -e "$plugin" ]; then return; fi
    done
    return 1
}

has_sound_server() {
    command -v pulseaudio >/dev/null && command -v pactl >/dev/null && command -v pacat >/dev/null &&
        has_alsa_pulse_plugin
}

# A failure is not fatal: tests/sound is then skipped, and reports what is missing.
set_up_sound() {
    if [ "$(uname -s)" != Linux ] || has_sound_server; then return; fi
    without="tests/sound will be skipped: no sound server"
    find_manager
    case $manager in
        apt-get) set -- pulseaudio pulseaudio-utils libasound2-plugins ;;
        dnf) set -- pulseaudio pulseaudio-utils alsa-plugins-pulseaudio ;;
        pacman) set -- pulseaudio libpulse alsa-plugins ;;
        *)
            say "$without, and no apt-get, dnf or pacman that could install PulseAudio"
            return
            ;;
    esac
    # Beside PipeWire, PulseAudio may take over a desktop's sound at the next login.
    if command -v pipewire >/dev/null && ! command -v pulseaudio >/dev/null; then
        say "$without (this machine has PipeWire, and PulseAudio could disturb it:" \
            "run '$(install_command "$@")' as root if you want that)"
        return
    fi
    if ! find_root; then
        say "$without (to install one, run '$(install_command "$@")' as root)"
        return
    fi
    if [ -z "$python" ]; then python=$root/.venv/bin/python; fi
    take_lock
    if install_packages "$@"; then
        rm -f "$log"
    else
        tail -n 3 "$log" | sed 's/^/    /' >&2
        say "$without ($manager could not install it)"
    fi
    release_lock
}
