# check.sh: for tests without namespaces; those with have their own in net.sh.

# check WHAT COMMAND...: says what was checked; ends the test when the command fails.
check() {
    what=$1
    shift
    "$@" || {
        echo "FAILED: $what" >&2
        exit 1
    }
    echo "ok: $what"
}
