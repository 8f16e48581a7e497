# Medians, ratios and targets out of what macro.sh noted, one "KEY METRIC VALUE" a line, KEY being
# MEASUREMENT/WAY/STREAMS/PATH, values of the rounds in order. A ratio is the median of the rounds' ratios.
# Variables: json (file to append to, or empty), commit, cpu, kernel, backend.

{
    at = $1 " " $2
    if (!(at in count)) order[++orders] = at
    value[at, ++count[at]] = $3
}

# Sorts the `n` values of `v`.
function sort(v, n,    i, k, x) {
    for (i = 2; i <= n; i++) {
        x = v[i]
        for (k = i - 1; k >= 1 && v[k] > x; k--) v[k + 1] = v[k]
        v[k + 1] = x
    }
}
# Fills low, middle and high; false when nothing was measured.
function spread(at,    v, i) {
    if (!(at in count)) return 0
    for (i = 1; i <= count[at]; i++) v[i] = value[at, i] + 0
    sort(v, count[at])
    low = v[1]; middle = v[int((count[at] + 1) / 2)]; high = v[count[at]]
    return 1
}
# Median of the rounds' ratios; -1 when one of both is missing.
function ratio(a, b, metric,    v, i, n) {
    a = a " " metric; b = b " " metric
    for (i = 1; (a, i) in value && (b, i) in value; i++) if (value[b, i] > 0) v[++n] = value[a, i] / value[b, i]
    if (n == 0) return -1
    sort(v, n)
    return v[int((n + 1) / 2)]
}
function unit(metric) {
    if (metric == "rate") return "Mbit/s"
    if (metric ~ /^(user|system|cpu)$/) return "core ms/Gbit"
    if (metric ~ /^(p50|p90|p99|worst)$/) return "us"
    if (metric ~ /^per-/) return "segments/call"
    if (metric == "loss") return "%"
    if (metric == "core") return "cores"
    if (metric ~ /^(sent|arrived|kpps)$/) return "kpps"
    if (metric == "fairness") return "slowest/fastest"
    if (metric == "setups") return "clients/s"
    if (metric == "unserved") return "clients"
    return "segments"
}
function print_json(    i, part, field) {
    for (i = 1; i <= orders; i++) {
        split(order[i], part, " ")
        split(part[1], field, "/")
        if (part[2] ~ /^(limit|curve)$/) continue
        spread(order[i])
        printf "{\"id\":\"%s.%s\",\"params\":\"way=%s streams=%s path=%s\",\"median\":%s,\"min\":%s,\"max\":%s,\"n\":%d,\"unit\":\"%s\",\"commit\":\"%s\",\"cpu\":\"%s\",\"kernel\":\"%s\"}\n", \
            field[1], part[2], field[2], field[3], field[4], middle, low, high, count[order[i]], unit(part[2]), commit, cpu, kernel >>json
    }
}

function cell(at, format) { return spread(at) ? sprintf(format, middle) : "-" }
function part_of(x) { return x < 0 ? "-" : sprintf("%.2f", x) }
function print_tcp(    i, part, f, base) {
    printf "%-14s %-4s %3s %-10s %21s %7s %8s %9s %7s  %s\n", "transfer", "way", "n", "path", "Mbit/s [min..max]", "x deb", "x plain",
        "ms/Gbit", "x deb", "segments per TUN read, write, UDP receive, send"
    for (i = 1; i <= orders; i++) {
        split(order[i], part, " ")
        if (part[2] != "rate") continue
        split(part[1], f, "/")
        base = f[1] "/" f[2] "/" f[3] "/"
        spread(order[i])
        printf "%-14s %-4s %3s %-10s %21s %7s %8s %9s %7s  %s %s %s %s\n", f[1], f[2], f[3], f[4],
            sprintf("%.0f [%.0f..%.0f]", middle, low, high),
            part_of(ratio(part[1], base "deb", "rate")), part_of(ratio(part[1], base "forward", "rate")),
            cell(part[1] " cpu", "%.0f"), part_of(ratio(part[1], base "deb", "cpu")),
            cell(part[1] " per-tun-read", "%.1f"), cell(part[1] " per-tun-write", "%.1f"),
            cell(part[1] " per-udp-receive", "%.1f"), cell(part[1] " per-udp-send", "%.1f")
    }
}
# The text of the first round.
function text(at) { return at in count ? value[at, 1] : "-" }
function print_udp(    i, part, f, base) {
    printf "\n%-14s %-4s %-8s %12s %7s %9s %7s %10s  %s\n", "UDP", "way", "path", "kpps at 0.1%", "x deb", "x plain", "limit",
        "disorder", "kpps sent:% lost, in the order of measuring"
    for (i = 1; i <= orders; i++) {
        split(order[i], part, " ")
        if (part[2] != "kpps") continue
        split(part[1], f, "/")
        base = f[1] "/" f[2] "/" f[3] "/"
        spread(order[i])
        printf "%-14s %-4s %-8s %12.1f %7s %9s %7s %10s  %s\n", f[1], f[2], f[4], middle,
            part_of(ratio(part[1], base "deb", "kpps")), part_of(ratio(part[1], base "forward", "kpps")),
            text(part[1] " limit"), text(part[1] " reordered"), text(part[1] " curve")
    }
}
function print_rest(    i, part) {
    printf "\n%-34s %-9s %10s %10s %10s  %s\n", "other", "metric", "median", "min", "max", "unit"
    for (i = 1; i <= orders; i++) {
        split(order[i], part, " ")
        if (part[2] ~ /^(rate|user|system|cpu|per-.*|kpps|limit|curve)$/ || (part[1] " kpps") in count) continue
        if (part[2] ~ /^(resent|reordered)$/ && part[1] !~ /^(line|tcp|udp).*(all|forward)$/) continue
        spread(order[i])
        printf "%-34s %-9s %10.4g %10.4g %10.4g  %s\n", part[1], part[2], middle, low, high, unit(part[2])
    }
}

# target ID, what, measured, must, stretch, sign: 1 when more is better.
function target(id, what, measured, must, stretch, sign,    ok) {
    if (measured < 0) { printf "%-5s %-58s not measured\n", id, what; return }
    ok = sign * measured >= sign * stretch ? "stretch" : sign * measured >= sign * must ? "ok" : "MISSED"
    printf "%-5s %-58s must %-8s stretch %-8s measured %-8s %s\n", id, what, sprintf("%.3g", must), sprintf("%.3g", stretch), sprintf("%.3g", measured), ok
}
function median_of(at) { return spread(at) ? middle : -1 }
# What has no target: the medians of the metrics of a key.
function told(id, what, key, metrics,    i, n, name, line) {
    n = split(metrics, name, " ")
    for (i = 1; i <= n; i++)
        if (spread(key " " name[i])) line = line sprintf("%s%s %.4g %s", line == "" ? "" : ", ", name[i], middle, unit(name[i]))
    printf "%-5s %-58s %s\n", id, what, line == "" ? "not measured" : line
}
function print_targets(    full, i, way, part, f, base) {
    full = backend ~ /AVX512/ ? 1 : 0.7
    printf "\ntargets; cipher: %s%s\n", backend, full == 1 ? "" : ", so 0.7 of T-01 to T-03"
    for (i = 1; i <= 2; i++) {
        way = i == 1 ? "up" : "down"
        target("T-01", "1 stream " way ", x deb", ratio("tcp/" way "/1/all", "tcp/" way "/1/deb", "rate"), 6 * full, 8 * full, 1)
        target("T-02", "10 streams " way ", x deb", ratio("tcp/" way "/10/all", "tcp/" way "/10/deb", "rate"), 7 * full, 10 * full, 1)
        target("T-03", "gateway core-s per Gbit " way ", of deb", ratio("tcp/" way "/1/all", "tcp/" way "/1/deb", "cpu"), 0.18 / full, 0.11 / full, -1)
        target("T-04", "1 stream " way ", of the null cipher", ratio("tcp/" way "/1/all", "tcp/" way "/1/null", "rate"), 0.4, 0.55, 1)
        target("T-05", "1 stream " way ", of plain forwarding", ratio("tcp/" way "/1/all", "tcp/" way "/1/forward", "rate"), 0.25, 0.4, 1)
        target("T-06", "1 stream " way ", x plain TUN and libsodium on both ends", ratio("tcp/" way "/1/all", "tcp/" way "/1/reference", "rate"), 2.5, 3, 1)
    }
    target("T-07", "64 B UDP at 100 kpps, % lost", median_of("udp-64-100k/up/1/all loss"), 0.5, 0.1, -1)
    target("T-07", "the same, cores", median_of("udp-64-100k/up/1/all core"), 0.5, 0.33, -1)
    told("T-07", "300 kpps asked for, single datagrams", "udp-64-300k/up/1/all", "sent loss core")
    told("T-07", "the same, super-packets of 32", "udp-64-300k-gso/up/1/all", "sent loss core")
    target("T-08", "idle RTT p50, of deb", ratio("rtt-idle/up/1/all", "rtt-idle/up/1/deb", "p50"), 0.6, 0.4, -1)
    target("T-08", "idle RTT p99, of deb", ratio("rtt-idle/up/1/all", "rtt-idle/up/1/deb", "p99"), 0.6, 0.4, -1)
    target("T-08", "the same with real-time priority, p50", ratio("rtt-realtime/up/1/all", "rtt-realtime/up/1/deb", "p50"), 0.6, 0.4, -1)
    target("T-08", "the same with real-time priority, p99", ratio("rtt-realtime/up/1/all", "rtt-realtime/up/1/deb", "p99"), 0.6, 0.4, -1)
    target("T-09", "RTT p99 under one stream up, ms", median_of("rtt-load/up/1/all p99") / 1000, 12, 5, -1)
    target("T-09", "RTT p99 under one stream down, ms", median_of("rtt-load/down/1/all p99") / 1000, 12, 5, -1)
    for (i = 25; i <= 50; i += 25)
        told("P-09", "1000 clients, " i " pings and answers a second each", "many-" i "/both/1000/all", "loss core p99")
    told("P-10", "new clients a second, set-up p99 below 2 s", "new-clients/up/1/all", "setups")
    for (i = 1; i <= orders; i++) {
        split(order[i], part, " ")
        split(part[1], f, "/")
        base = f[1] "/" f[2] "/" f[3] "/"
        if (part[2] != "rate") continue
        if (f[1] == "ways" && f[4] ~ /^[46]-in-/) target("IPv6", f[4] " " f[2] ", of IPv4 in IPv4", ratio(part[1], base "all", "rate"), 0.7, 0.9, 1)
        if (f[1] == "ways" && f[4] ~ /^(relayed|named)$/) target("P-06", f[4] " " f[2] ", of the direct way", ratio(part[1], base "all", "rate"), 0.7, 0.9, 1)
        if (f[1] ~ /^line/ && f[4] == "all") target("P-08", f[1] " " f[2] ", of plain forwarding", ratio(part[1], base "forward", "rate"), 0.9, 0.97, 1)
        if (f[1] ~ /^line/ && f[4] == "all") target("P-08", f[1] " " f[2] ", segments out of order", median_of(part[1] " reordered"), 0, 0, -1)
    }
}
END {
    print_tcp()
    print_udp()
    print_rest()
    print_targets()
    if (json != "") print_json()
}
