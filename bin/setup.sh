# shellcheck shell=sh
# Sets up what Bargein needs, and nothing that is there already. Sourced by bin/demo, bin/start and
# bin/test, from the root of the checkout; not a command of its own.
#
#   set_up EXTRA        .venv with Bargein in it, and the extra of pyproject.toml so named ('' for none)
#   set_up_network      what tests/process can do without, in CI
#   set_up_sound        the sound server that tests/sound needs, where it can be had
#
# A set-up that is complete costs one checksum and one start of Python; see `is_set_up`.
# All that is said goes to standard error; what pip and the package managers print goes to $log.

oldest_python=3.11
command=bin/${0##*/}
root=$(pwd -P)
stamp=.venv/set-up
lock=.setup.lock
log=.setup.log
python=

say() { printf '%s: %s\n' "$command" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# Runs a command that has much to say: into the log. It doesn't inherit the lock, which a daemon
# that some package starts would otherwise hold for ever.
quietly() { "$@" >>"$log" 2>&1 </dev/null 9>&-; }

# Ends with one line, under the last lines of what went wrong.
die_with_log() {
    tail -n 8 "$log" | sed 's/^/    /' >&2
    die "$* (all of the output: $root/$log)"
}

# --- is anything missing? -----------------------------------------------------------------------------

# What the set-up was made from. The interpreter is asked, because a system that moves on to its
# next Python leaves .venv/bin/python working and the packages behind.
fingerprint() {
    printf '%s, Python %s, in %s\n' "$(cksum <pyproject.toml)" \
        "$(.venv/bin/python -I -S -c 'import sys; sys.stdout.write(sys.version.split()[0])' 2>/dev/null)" \
        "$root"
}

# True if .venv was set up from this pyproject.toml, with extra $1 ("" for none), by this Python, here.
is_set_up() {
    [ -x .venv/bin/python ] && [ -r "$stamp" ] || return 1
    made_from='' extras=''
    { read -r made_from && read -r extras; } <"$stamp" || return 1
    case " $extras " in *" ${1:-core} "*) ;; *) return 1 ;; esac
    [ "$made_from" = "$(fingerprint)" ]
}

# --- Python -------------------------------------------------------------------------------------------

# Prints, a line each: version, base_prefix, "yes" if it can make a virtual environment, the folder
# of its C headers, its C compiler. Runs on any Python, so that an old one can say that it is old.
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

# Sets python, version, prefix, can_venv, include and compiler; the user's own python3 comes first.
find_python() {
    if [ -n "${PYTHON-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.14 python3.13 python3.12 python3.11 python
    fi
    found=
    for python; do
        # One that is on PATH may still not run: pyenv has a stand-in for each version it knows.
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
    die "needs Python $oldest_python or newer, and found ${found:-none as ${PYTHON:-python3}}:" \
        "install one, or name one with PYTHON=/path/to/python3 $command"
}

# --- one set-up at a time -----------------------------------------------------------------------------

# The lock is Python's, because macOS has no flock(1); it lasts as long as file descriptor 9 of this
# shell, so a set-up that is killed leaves none behind.
take_lock() {
    (: >>"$lock" && : >>"$log") 2>/dev/null || die "can't write in $root: is this folder yours?"
    exec 9>>"$lock"
    if ! "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null; then
        say "another set-up is running here; waiting for it to finish"
        "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' || die "can't lock $root/$lock"
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

# Sets sudo to what a command needs before it to run as root. Fails where that can't be had; with
# "ask", a password may be asked for at the terminal.
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

# Prints the command a person would type to install packages $*.
install_command() {
    case $manager in
        apt-get) echo "apt-get install $*" ;;
        dnf) echo "dnf install $*" ;;
        pacman) echo "pacman -S $*" ;;
    esac
}

# Installs packages $*, and removes none: on a desktop, another sound server could be in the way.
install_packages() {
    say "installing $* with $manager${sudo:+ and sudo}"
    # shellcheck disable=SC2086 # $sudo is a command and its option, or nothing
    case $manager in
        apt-get)
            apt_install() {
                quietly $sudo env DEBIAN_FRONTEND=noninteractive apt-get -y -q \
                    -o DPkg::Lock::Timeout=300 --no-install-recommends --no-remove install "$@"
            }
            # The list of packages may be old, or not there at all, as in a new container.
            apt_install "$@" || { quietly $sudo apt-get -q update && apt_install "$@"; }
            ;;
        dnf) quietly $sudo dnf -y install "$@" ;;
        pacman)
            # No list of packages at all, as in a new container, is the one case where fetching it
            # can't leave the system half upgraded.
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

# What Python lacks can be installed only if it is the system's own.
system_python_or_die() { # $1: what it lacks
    [ "$prefix" = /usr ] || die "$python (Python $version) lacks $1:" \
        "add them to it, or name another one with PYTHON=/path/to/python3 $command"
}

# Sets packages to the system packages that are missing on Linux. PyAudio has no wheel there: it is
# compiled, with Python's headers and PortAudio's.
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
        die "PyAudio has to be compiled, and this system lacks $missing and has none of apt-get," \
            "dnf and pacman: install that, then run $command again"
    fi
}

set_up_linux() {
    missing_on_linux
    if [ -z "$packages" ]; then return; fi
    # shellcheck disable=SC2086 # a list of names without spaces
    set -- $packages
    find_root ask || die "this needs root, and sudo doesn't give it:" \
        "run '$(install_command "$@")' as root, then $command again"
    install_packages "$@" || die_with_log "$manager could not install $*:" \
        "see to what it says above, then run $command again"
}

set_up_macos() {
    if .venv/bin/python -c 'import pyaudio' 2>/dev/null; then return; fi
    xcode-select -p >/dev/null 2>&1 || die "PyAudio has to be compiled, and there is no compiler:" \
        "run 'xcode-select --install', then $command again"
    command -v brew >/dev/null || die "PyAudio needs PortAudio, which Homebrew has, and there is no" \
        "Homebrew: install it, then run $command again"
    if brew --prefix --installed portaudio >/dev/null 2>&1; then return; fi
    say "installing portaudio with Homebrew"
    quietly brew install portaudio || die_with_log "Homebrew could not install portaudio:" \
        "see to what it says above, then run $command again"
}

# --- .venv --------------------------------------------------------------------------------------------

# True if .venv is one to install into. One whose folder was moved is not: its commands name the
# Python they were installed for.
venv_works() {
    .venv/bin/python -m pip --version >/dev/null 2>&1 || return 1
    new_enough "$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" || return 1
    if [ -r "$stamp" ]; then
        read -r made_from <"$stamp"
        case $made_from in *", in $root") ;; *) return 1 ;; esac
    fi
}

set_up_venv() { # $1: the extra, or nothing
    if ! venv_works; then
        say "making .venv with Python $version ($python)"
        quietly "$python" -m venv --clear .venv || die_with_log "Python could not make $root/.venv:" \
            "see to what it says above, then run $command again"
    fi
    rm -f "$stamp" # whatever happens now, the old set-up is no longer what is there
    say "installing Bargein${1:+, its $1 tools} and the packages it uses into .venv"
    quietly .venv/bin/python -m pip install --no-input --disable-pip-version-check \
        --editable ".${1:+[$1]}" || die_with_log "pip could not install Bargein into .venv:" \
        "see to what it says above, then run $command again"
    quietly .venv/bin/python -c 'import pyaudio' || die_with_log "PyAudio is installed and doesn't" \
        "load: remove $root/.venv and run $command again"
    printf '%s\n%s\n' "$(fingerprint)" "core${1:+ $1}" >"$stamp"
}

set_up() { # $1: the extra, or nothing
    if is_set_up "$1"; then return; fi
    find_python
    take_lock
    # While this waited, the set-up it waited for may have done all of it.
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

# --- a second machine, for the tests --------------------------------------------------------------------

# With CI=true, what a network of its own takes; without, or where that fails, tests/process takes
# another address of this machine for the second one.
set_up_network() {
    if [ "${CI-}" != true ] || [ "$(uname -s)" != Linux ] || command -v ip >/dev/null; then return; fi
    find_manager
    if [ "$manager" != apt-get ] || ! find_root; then return; fi
    if [ -z "$python" ]; then python=$root/.venv/bin/python; fi
    take_lock
    install_packages iproute2 || say "no iproute2: tests/process takes loopback for two machines"
    rm -f "$log"
    release_lock
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

# Never fatal: tests/sound is skipped where this can't be had, and says itself what is missing.
set_up_sound() {
    if [ "$(uname -s)" != Linux ] || has_sound_server; then return; fi
    without="tests/sound will be skipped: no sound server"
    find_manager
    case $manager in
        apt-get) set -- pulseaudio pulseaudio-utils libasound2-plugins ;;
        dnf) set -- pulseaudio pulseaudio-utils alsa-plugins-pulseaudio ;;
        pacman) set -- pulseaudio libpulse alsa-plugins ;;
        *)
            say "$without, and none of apt-get, dnf and pacman to install PulseAudio with"
            return
            ;;
    esac
    # PulseAudio beside PipeWire may take a desktop's sound over at the next login.
    if command -v pipewire >/dev/null && ! command -v pulseaudio >/dev/null; then
        say "$without (PulseAudio is not installed by itself beside PipeWire:" \
            "run '$(install_command "$@")' as root if you want it)"
        return
    fi
    if ! find_root; then
        say "$without (run '$(install_command "$@")' as root to have it)"
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
