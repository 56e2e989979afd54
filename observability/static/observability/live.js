// The live log: rows come over one WebSocket, filtered and permitted by the server. No library, no outside request.
(() => {
    "use strict";
    const root = document.getElementById("live-log");
    if (!root) return;
    const settings = JSON.parse(document.getElementById("live-settings").textContent);
    const MAX_ROWS = 500;
    const REMEMBERED = 5000;
    const PING_EVERY = 15000;
    const SILENT_FOR = 10000;
    const MARKS = {success: ["✓", "OK"], refused: ["■", "Refused"], error: ["✕", "Error"], cancelled: ["◌", "Cancelled"]};
    const TOKEN_CLASSES = ["input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens"];

    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    const body = part("rows"), box = part("box"), form = part("filters");
    const clock = new Intl.DateTimeFormat("en-GB", {timeZone: settings.zone, hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false});
    const date = new Intl.DateTimeFormat("en-CA", {timeZone: settings.zone, year: "numeric", month: "2-digit", day: "2-digit"});
    const minute = new Intl.DateTimeFormat("en-GB", {timeZone: settings.zone, hour: "2-digit", minute: "2-digit", hour12: false});
    const whole = new Intl.NumberFormat("en-US");

    const since = new Date();
    let socket = null, connected = false, refused = false, opened = false, failures = 0, retryAt = 0, retryTimer = 0, pongTimer = 0;
    let awaitingFilter = false, historyDue = true, truncated = false;
    let pausedBy = "", waiting = [], newCount = 0, dropped = 0;
    let seen = new Set(), arrivals = [], lastFinished = "", lastRequest = null;
    let totals = {requests: 0, tokens: 0, cost: 0};

    // --- figures ---------------------------------------------------------------------------------------------
    const tokensOf = (row) => TOKEN_CLASSES.reduce((sum, name) => sum + row[name], 0);

    function money(nano) {
        if (nano === 0) return "—";
        const micros = Math.round(Math.abs(nano) / 1000);
        if (micros === 0) return "<0.000001";
        const digits = String(micros % 1000000).padStart(6, "0");
        const text = `${whole.format(Math.floor(micros / 1000000))}.${digits}`;
        return nano < 0 ? `(${text})` : text;
    }

    function total(nano) {
        if (nano === 0) return "$0";
        if (nano < 5e6) return "<$0.01";
        return "$" + (nano / 1e9).toLocaleString("en-US", {minimumFractionDigits: 2, maximumFractionDigits: 2});
    }

    function ago(moment) {
        const seconds = Math.max(0, Math.round((Date.now() - moment) / 1000));
        if (seconds < 60) return `${seconds} s ago`;
        if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
        if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
        return `${Math.floor(seconds / 86400)} days ago`;
    }

    // --- rows ------------------------------------------------------------------------------------------------
    function cell(line, text, kind, title) {
        const td = line.insertCell();
        td.textContent = text;
        if (kind) td.className = kind;
        if (title) td.title = title;
        return td;
    }

    function draw(row) {
        const line = document.createElement("tr");
        const link = document.createElement("a");
        link.href = settings.detail.replace("/0/", `/${encodeURIComponent(row.id)}/`);
        const finished = new Date(row.finished_at), day = date.format(finished);
        link.textContent = (day === date.format(new Date()) ? "" : `${day.slice(5)} `) + clock.format(finished);
        link.title = row.id;
        cell(line, "", "t").append(link);
        const [icon, word] = MARKS[row.status] || ["?", row.status];
        const outcome = cell(line, "", "t");
        const mark = document.createElement("span");
        mark.className = `ob-status is-${row.status}`;
        mark.innerHTML = '<i aria-hidden="true"></i>';
        mark.firstChild.textContent = icon;
        mark.append(word);
        outcome.append(mark);
        if (row.status !== "success") {
            const why = document.createElement("span");
            why.className = "ob-small ob-faint";
            why.textContent = ` ${row.error_type}`;
            outcome.append(why);
        }
        cell(line, `${row.virtual_key || "unknown key"}${row.team ? " · " + row.team : ""}`, "t", [row.customer, row.team, row.developer, row.project].filter(Boolean).join(" / "));
        cell(line, row.model || row.model_requested || "—", "t", row.model && row.model !== row.model_requested ? `asked ${row.model_requested}` : "");
        const tokens = tokensOf(row);
        cell(line, tokens ? whole.format(tokens) : "—", "n", TOKEN_CLASSES.map((name) => `${name.replace("_tokens", "").replaceAll("_", " ")} ${whole.format(row[name])}`).join(", "));
        cell(line, (row.cost_quality === "exact" ? "" : `${row.cost_quality === "estimated" ? "est." : row.cost_quality} `) + money(row.cost_nano_usd), "n");
        cell(line, row.latency_ms === null ? "—" : row.latency_ms < 1 ? "<1" : whole.format(Math.round(row.latency_ms)), "n", row.ttft_ms === null ? "" : `first token after ${whole.format(Math.round(row.ttft_ms))} ms`);
        return line;
    }

    function show(rows) {
        const fragment = document.createDocumentFragment();
        for (const row of rows.slice(-MAX_ROWS).reverse()) fragment.append(draw(row));
        body.prepend(fragment);
        while (body.rows.length > MAX_ROWS) body.deleteRow(-1);
    }

    function receive(rows, live) {
        const fresh = rows.filter((row) => !seen.has(row.id));
        for (const row of fresh) {
            seen.add(row.id);
            totals.requests += 1;
            totals.tokens += tokensOf(row);
            totals.cost += row.cost_nano_usd;
            if (row.finished_at > lastFinished) lastFinished = row.finished_at;
            const finished = Date.parse(row.finished_at);
            if (lastRequest === null || finished > lastRequest) lastRequest = finished;
            if (live || Date.now() - finished < 60000) arrivals.push(live ? Date.now() : finished);
        }
        if (seen.size > REMEMBERED) seen = new Set([...seen].slice(-REMEMBERED / 2));
        if (pausedBy) {
            newCount += fresh.length;
            waiting = waiting.concat(fresh).slice(-MAX_ROWS);
        } else if (fresh.length) {
            show(fresh);
        }
        refresh();
    }

    // --- pausing ---------------------------------------------------------------------------------------------
    function pause(why) {
        if (!pausedBy) pausedBy = why;
        refresh();
    }

    function resume() {
        pausedBy = "";
        show(waiting);
        waiting = [];
        newCount = 0;
        refresh();
    }

    const selecting = () => {
        const selection = document.getSelection();
        return selection && !selection.isCollapsed && body.contains(selection.anchorNode);
    };

    box.addEventListener("scroll", () => {
        if (box.scrollTop > 30) pause("scroll");
        else if (pausedBy === "scroll") resume();
    });
    document.addEventListener("selectionchange", () => {
        if (selecting()) pause("selection");
        else if (pausedBy === "selection") (box.scrollTop > 30 ? pausedBy = "scroll" : resume());
    });
    part("pause").addEventListener("click", () => {
        if (!pausedBy) return pause("button");
        jump();
    });
    part("jump").addEventListener("click", jump);

    function jump() {
        document.getSelection()?.removeAllRanges();
        box.scrollTop = 0;
        resume();
    }

    // --- what the page says ----------------------------------------------------------------------------------
    function refresh() {
        const state = part("state");
        const now = Date.now();
        arrivals = arrivals.filter((at) => now - at < 60000);
        if (refused) {
            state.textContent = "✕ Closed";
            state.className = "ob-live-state is-lost";
        } else if (!connected) {
            const wait = Math.max(0, Math.ceil((retryAt - now) / 1000));
            state.textContent = opened || failures ? `✕ Disconnected${wait ? `, again in ${wait} s` : ", connecting…"}` : "Connecting…";
            state.className = "ob-live-state is-lost";
        } else if (pausedBy) {
            state.textContent = `❚❚ Paused${newCount ? ` · ${whole.format(newCount)} new` : ""}`;
            state.className = "ob-live-state is-paused";
        } else {
            state.textContent = "● Live";
            state.className = "ob-live-state is-live";
        }
        part("pause").textContent = pausedBy ? "▶ Resume" : "❚❚ Pause";
        part("jump").classList.toggle("is-off", !pausedBy);
        part("jump").disabled = !pausedBy;
        part("rate").textContent = `${whole.format(arrivals.length)} / min`;
        part("dropped").textContent = dropped ? `▲ ${whole.format(dropped)} dropped` : "0 dropped";
        part("dropped").classList.toggle("ob-strong", dropped > 0);
        part("requests").textContent = whole.format(totals.requests);
        part("tokens").textContent = whole.format(totals.tokens);
        part("cost").textContent = total(totals.cost);
        const last = lastRequest === null ? "no request yet" : `last request ${ago(lastRequest)}`;
        part("listening").textContent = `Listening since ${minute.format(since)} ${settings.zone}; ${last}.`;
        part("truncated").hidden = !truncated;
        const problem = part("problem");
        problem.hidden = !(refused || (!opened && failures > 2));
        problem.textContent = refused
            ? "You may no longer see the request log. Ask an administrator, or reload the page to sign in again."
            : "The live connection is refused. Reload the page to sign in again; a proxy in between must let WebSockets through.";
        const empty = body.rows.length === 0;
        part("empty").hidden = !empty;
        part("table").hidden = empty;
        part("empty-why").textContent = filtered() ? "No request matches these filters yet." : "No request yet.";
    }
    setInterval(refresh, 1000);

    // --- filters ---------------------------------------------------------------------------------------------
    const values = () => Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value).trim()]));
    const filtered = () => Object.values(values()).some(Boolean);

    function applyFilters() {
        const chosen = values();
        const query = new URLSearchParams(Object.entries(chosen).filter(([, value]) => value));
        history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
        part("clear").classList.toggle("is-off", !filtered());
        body.replaceChildren();
        waiting = [];
        newCount = 0;
        dropped = 0;
        truncated = false;
        seen = new Set();
        arrivals = [];
        lastFinished = "";
        totals = {requests: 0, tokens: 0, cost: 0};
        awaitingFilter = true;
        historyDue = true;
        say({type: "filter", ...chosen});
        refresh();
    }
    form.addEventListener("change", applyFilters);
    form.addEventListener("submit", (event) => event.preventDefault());
    part("clear").addEventListener("click", () => {
        for (const field of form.elements) if (field.name) field.value = "";
        applyFilters();
    });

    // --- the socket ------------------------------------------------------------------------------------------
    function say(message) {
        if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
    }

    function catchUp() {
        say({type: "catch_up", after: historyDue ? null : lastFinished || since.toISOString()});
        historyDue = false;
    }

    function connect() {
        clearTimeout(retryTimer);
        retryAt = 0;
        const scheme = location.protocol === "https:" ? "wss:" : "ws:";
        const mine = socket = new WebSocket(`${scheme}//${location.host}${settings.socket}`);
        mine.onopen = () => {
            connected = opened = true;
            failures = 0;
            awaitingFilter = true;
            say({type: "filter", ...values()});
            refresh();
        };
        mine.onmessage = (event) => {
            const message = JSON.parse(event.data);
            clearTimeout(pongTimer);
            if (message.type === "hello" && lastRequest === null && message.last_request_at) lastRequest = Date.parse(message.last_request_at);
            if (message.type === "filtered") {
                awaitingFilter = false;
                catchUp();
            }
            if (message.type === "error") {
                awaitingFilter = false;
                part("problem").textContent = message.message;
                part("problem").hidden = false;
                return;
            }
            if (awaitingFilter) return;
            if (message.type === "catch_up") {
                truncated = truncated || message.truncated;
                receive(message.rows, false);
            }
            if (message.type === "rows") {
                dropped += message.dropped;
                receive(message.rows, true);
                if (message.gap) catchUp();
            }
            refresh();
        };
        mine.onclose = (event) => {
            if (mine !== socket) return;
            connected = false;
            clearTimeout(pongTimer);
            if (event.code === 4403) {
                refused = true;
                body.replaceChildren();
            } else {
                failures += 1;
                const wait = Math.min(15000, 500 * 2 ** failures) * (0.7 + 0.6 * Math.random());
                retryAt = Date.now() + wait;
                retryTimer = setTimeout(connect, wait);
            }
            refresh();
        };
    }
    setInterval(() => {
        if (!connected) return;
        say({type: "ping"});
        clearTimeout(pongTimer);
        // A cable that was pulled says nothing: close it here, so that the reconnection begins.
        pongTimer = setTimeout(() => socket.close(), SILENT_FOR);
    }, PING_EVERY);
    document.addEventListener("visibilitychange", () => {
        if (!document.hidden && !connected && !refused && retryAt) connect();
    });
    part("clear").classList.toggle("is-off", !filtered());
    refresh();
    connect();
})();
