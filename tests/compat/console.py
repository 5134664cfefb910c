#!/usr/bin/env python3
"""The console in a headless Chromium, on servers with load: what each view shows, at 360 and 1600 px, light and dark.

    tests/compat/console.py                    against the release zkfast
    tests/compat/console.py --shots FOLDER     writes a picture of each view there

Of each view in each width and theme: it shows what the server has, nothing is wider than the screen, axe-core finds nothing
that a screen reader or weak eyes could not use, the browser's console has no error, and no request goes elsewhere. Then:
the keyboard, 100,000 children, 10,000 sessions, access lists, names that are HTML, an ensemble, and a server that goes away.
"""

import contextlib
import os
import pathlib
import re
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benches/compare"))
import support  # noqa: E402


def use_chromium():
    """Restarts this test in the interpreter that drives Chromium. Where there is none, the test is skipped."""
    try:
        import axe_playwright_python.base  # noqa: F401
        import playwright.sync_api  # noqa: F401
    except ImportError:
        import subprocess

        run = subprocess.run([support.ROOT / "tests/setup/setup.sh", "chromium"], stdout=subprocess.PIPE, text=True)
        if run.returncode != 0:
            print("0 passed, 0 failed, 1 skipped: no Chromium")
            sys.exit(0)
        python = run.stdout.strip()
        os.execv(python, [python, *sys.argv])


use_chromium()

import admin  # noqa: E402
import crowd  # noqa: E402
import session  # noqa: E402
from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from kazoo.client import KazooClient  # noqa: E402
from kazoo.security import ACL, Id, make_digest_acl  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

CHILDREN, SESSIONS = 100_000, 10_000
SIZES = {360: 760, 1600: 900}
# What a page may have in the document, whatever the server has: 200 children with links are 1,400.
ELEMENTS_MAX = 3000
# No promise: a step that takes longer than this hangs, however busy the machine is.
WAIT_MS = 60_000
# The longest that the page may be deaf to a key while it draws; one of so many attempts must stay within it.
DEAF_MS_MAX, ATTEMPTS = 300, 4
HTML = "<img src=x onerror=alert(1)>"
LONG = "a-very-long-name-" * 10


class Browser:
    """Pages of one browser, and all that goes wrong on them."""

    def __init__(self, chromium, base):
        self.chromium, self.base, self.wrong = chromium, base, []

    @contextlib.contextmanager
    def page(self, width=1600, theme="light", base=None, tolerates="(?!)"):
        """A page whose console stays clean but for lines that match `tolerates`, and which asks its server alone."""
        base = base or self.base
        context = self.chromium.new_context(viewport={"width": width, "height": SIZES[width]}, color_scheme=theme)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        wrong = []

        def said(message):
            if message.type in ("error", "warning") and not re.search(tolerates, message.text):
                wrong.append(f"console: {message.text}")

        page.on("console", said)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: request.url.startswith(base + "/") or wrong.append(f"request to {request.url}"))
        try:
            yield page
        finally:
            context.close()
        assert not wrong, wrong


def go(page, browser, view, base=None):
    page.goto(f"{base or browser.base}/#/{view}")


def sees(page, text, within="main"):
    """Waits until this text is shown."""
    page.locator(within).get_by_text(text).filter(visible=True).first.wait_for()


def fits(page):
    wide = page.evaluate("[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1"
                         " && !e.closest('.wide, pre, .skip')).map((e) => e.outerHTML.slice(0, 100))")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and not wide, f"wider than the screen: {wide[:3]}"


def is_usable(page, what):
    """axe-core's rules of WCAG 2.2, levels A and AA."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}})
    listed = [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found.response["violations"]]
    assert not listed, f"{what}: {listed}"


def elements(page):
    return page.evaluate("document.getElementsByTagName('*').length")


class Load:
    """Something for the console to show: a few znodes, watches, ephemerals, reads and writes that go on."""

    def __init__(self, address):
        self.client = KazooClient(address, timeout=60)
        self.client.start(support.START_SECONDS_MAX)
        everything = [make_digest_acl("alice", "wönder", all=True)]
        self.client.ensure_path("/app/locks")
        self.client.create("/app/config", b'{"name":"orders","limits":{"cpu":"500m"}}')
        self.client.create("/app/binary", bytes(range(256)))
        self.client.create("/app/text", "Grüße, 世界\n".encode())
        self.client.create("/app/secret", b"for alice alone", acl=everything)
        self.client.create("/app/shown", b"for all", acl=[*everything, ACL(1, Id("world", "anyone"))])
        # A name may have no slash.
        self.client.create(f"/app/{HTML}", HTML.encode())
        self.client.create(f"/app/{LONG}", b"")
        self.lock = self.client.create("/app/locks/l-", b"", ephemeral=True, sequence=True)
        self.client.get("/app/config", watch=lambda event: None)

    def some(self):
        for _ in range(50):
            self.client.get("/app/text")
        self.client.set("/app/text", b"other")

    def close(self):
        self.client.stop()
        self.client.close()


# A view's path, and what it shows of the server: texts, and a number that must be there.
VIEWS = {
    "overview": ["Ready", "standalone", "Reads a second", "Znodes"],
    "charts": ["Operations a second", "fsync of the log", "As a table"],
    "tree?path=%2Fapp": ["config", "(you may not read it)", "locks", "Access list", "world"],
    "tree?path=%2Fapp%2Fconfig": ["\"cpu\": \"500m\"", "Who watches it"],
    "sessions": ["127.0.0.1:", "Data watches"],
    "settings": ["clientPort", "effective", "no key of ZooKeeper 3.9", "snapCount"],
    "slow": ["Read again"],
}


def views(browser, load, shots):
    for width in SIZES:
        for theme in "light", "dark":
            with browser.page(width, theme) as page:
                for view, texts in VIEWS.items():
                    load.some()
                    go(page, browser, view)
                    for text in texts:
                        sees(page, text)
                    if view in ("overview", "charts"):
                        # Two samples, so that there are rates.
                        load.some()
                        page.wait_for_timeout(2500)
                        load.some()
                        page.wait_for_timeout(2500)
                    fits(page)
                    is_usable(page, f"{view} at {width} px, {theme}")
                    assert elements(page) < ELEMENTS_MAX, elements(page)
                    if shots:
                        name = re.sub(r"\W+", "-", view.replace("%2F", "/"))
                        page.screenshot(path=shots / f"{name}-{width}-{theme}.png", full_page=True)
                assert "s3cret" not in page.content()


def charts(browser, load):
    """The lines have points, and the table has the same numbers."""
    with browser.page() as page:
        go(page, browser, "charts")
        for _ in range(4):
            load.some()
            page.wait_for_timeout(2000)
        chart = page.locator("figure").first
        assert len(chart.locator("path.line0").get_attribute("d").split("L")) > 2, "a line"
        assert re.search(r"Now: reads [1-9]", chart.locator("svg").get_attribute("aria-label"))
        chart.locator("summary").click()
        cells = chart.locator("tbody tr").first.locator("td").all_inner_texts()
        assert float(cells[0].replace("\u202f", "")) > 0, cells
        # The samples go on while another view is shown.
        go(page, browser, "slow")
        page.wait_for_timeout(4500)
        go(page, browser, "charts")
        assert len(page.locator("path.line0").first.get_attribute("d").split("L")) > 4


def keyboard(browser):
    """From the top of the page the keyboard reaches the content, each view, and what is in it; the heading gets the focus."""
    with browser.page() as page:
        go(page, browser, "overview")
        sees(page, "Ready")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.reload()
        sees(page, "Ready")
        page.keyboard.press("Tab")
        for name in "Overview", "Charts", "Tree":
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.textContent") == name
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", "the focus is seen"
        page.keyboard.press("Enter")
        page.locator("#title:focus").get_by_text("Tree").wait_for()
        assert page.title() == "Tree – zkfast console"
        assert page.locator("nav [aria-current=page]").first.inner_text() == "Tree"
        page.locator("main").get_by_role("link", name="app").wait_for()
        page.get_by_role("textbox", name="Path").press("End")
        page.keyboard.type("app/config")
        page.keyboard.press("Enter")
        sees(page, "\"orders\"")
        page.go_back()
        page.locator("main").get_by_role("link", name="app").wait_for()


def names_that_are_html(browser):
    """A name and data that are HTML are text, and a long name breaks."""
    with browser.page(360, tolerates="status of 400") as page:
        go(page, browser, "tree?path=%2Fapp")
        page.locator("main").get_by_role("link", name=HTML).click()
        page.locator("pre").get_by_text(HTML).wait_for()
        assert page.locator("main img").count() == 0
        fits(page)
        # The path in the address is not trusted either.
        page.goto(f"{browser.base}/#/tree?path=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
        sees(page, "is not a path")
        assert page.locator("main img").count() == 0


def data(browser):
    """Data is shown as JSON, text or hexadecimal, as far as it is that."""
    with browser.page() as page:
        for path, forms in [("config", ["JSON", "Text", "Hex"]), ("binary", ["Hex"]), ("shown", ["Text", "Hex"])]:
            go(page, browser, f"tree?path=%2Fapp%2F{path}")
            page.locator("nav[aria-label=Path] [aria-current]").get_by_text(path).wait_for()
            page.locator(".choice button").first.wait_for()
            assert page.locator(".choice button").all_inner_texts() == forms, path
        page.get_by_role("button", name="Hex").click()
        assert page.locator("pre").inner_text().startswith("000000  66 6f 72 20 61 6c 6c")


def access_lists(browser):
    """Who reads a znode: anyone does not, a user with another password does not, its user does, and sees the whole list."""
    # The browser notes each answer that is no success.
    with browser.page(tolerates="status of 403") as page:
        go(page, browser, "tree?path=%2Fapp%2Fsecret")
        sees(page, "does not let you read it")
        for password, expected in ("wander", "does not let you read it"), ("wönder", "for alice alone"):
            page.locator(".bar summary").click()
            page.get_by_label("User").fill("alice")
            page.get_by_label("Password").fill(password)
            page.get_by_role("button", name="Use", exact=True).click()
            sees(page, "Reading as alice")
            sees(page, expected)
        assert re.search(r"alice:[A-Za-z0-9+/]{27}=", page.locator("main").inner_text()), "the digest"
        assert "wönder" not in page.content()
        # Another page knows nothing of it.
        page.reload()
        sees(page, "does not let you read it")


def deafness(page, act, done):
    """The longest task of the page in ms while `act` is done, up to `done`."""
    page.evaluate("""() => { window.longest = 0; window.observer?.disconnect();
        window.observer = new PerformanceObserver((l) => { for (const e of l.getEntries()) window.longest = Math.max(window.longest, e.duration); });
        window.observer.observe({ type: 'longtask' }); }""")
    begun = time.monotonic()
    act()
    done()
    took = time.monotonic() - begun
    page.wait_for_timeout(100)
    return page.evaluate("window.longest"), took


def many_children(browser, port):
    """100,000 children come in pages of 200; the page has as few elements as ever and answers keys."""
    connection = session.Connection(port, None, 0)
    requests = [session.create("/many", b"")] + [session.create(f"/many/n{number:06}", b"") for number in range(CHILDREN)]
    for first in range(0, len(requests), 1000):
        assert {code for _, code in connection.pipeline(requests[first:first + 1000])} == {0}
    with browser.page(360) as page:
        go(page, browser, "tree?path=%2Fmany")
        sees(page, "1 to 200; 100\u202f000 children in all")
        shown = []
        for at in range(1, ATTEMPTS + 1):
            shown.append(deafness(page, page.get_by_role("button", name="Next").click,
                                  page.get_by_role("link", name=f"n{at * 200:06}").wait_for))
            assert elements(page) < ELEMENTS_MAX, elements(page)
        print("       pages of 100,000 children: " + ", ".join(f"{took:.2f} s, longest task {ms:.0f} ms" for ms, took in shown))
        assert min(ms for ms, _ in shown) < DEAF_MS_MAX, shown
        assert page.evaluate("document.activeElement.textContent") == "Next", "the focus stays"
        page.get_by_role("button", name="First").click()
        page.get_by_role("link", name="n000000").wait_for()
        page.get_by_label("Names that begin with").fill("n0999")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="n099900").wait_for()
        assert page.locator(".children tbody tr").count() == 100
        fits(page)


def many_sessions(browser, port, load):
    """10,000 sessions come in pages of 100, and are found by their number, address or ephemeral."""
    many = crowd.Crowd(SESSIONS, [port], 300_000)
    many.open(240)
    with browser.page() as page:
        go(page, browser, "sessions")
        sees(page, re.compile("1 to 100 of 10\u202f00[0-9] sessions"))
        shown = []
        for at in range(1, ATTEMPTS + 1):
            shown.append(deafness(page, page.get_by_role("button", name="Next").click,
                                  page.get_by_text(re.compile(f"^{at * 100 + 1:,} to".replace(",", "\u202f"))).wait_for))
            assert elements(page) < ELEMENTS_MAX, elements(page)
        print("       pages of 10,000 sessions: " + ", ".join(f"{took:.2f} s, longest task {ms:.0f} ms" for ms, took in shown))
        assert min(ms for ms, _ in shown) < DEAF_MS_MAX, shown
        own = f"0x{load.client.client_id[0]:x}"
        page.get_by_label("Session, client or path").fill(load.lock)
        page.keyboard.press("Enter")
        page.get_by_role("link", name=own, exact=True).click()
        page.get_by_role("link", name=load.lock).wait_for()
        page.get_by_role("link", name="/app/config").wait_for()
        go(page, browser, "sessions?watch=%2Fapp%2Fconfig")
        page.get_by_role("link", name=own, exact=True).wait_for()
        # Each number as it is: JSON has more digits than a number of JavaScript.
        go(page, browser, f"sessions?id=0x{many.members[4321].id & (1 << 64) - 1:x}")
        sees(page, "127.0.0.1:")
    many.close()


def slow_requests(browser):
    """A server that keeps a list of slow requests has it shown, and one that does not is said to have none."""
    request = {"time": 1_795_987_738_784, "session": -6_904_713_432_901_648_384, "xid": 7, "op": "setData", "path": "/app/config",
               "total_us": 1_234_567, "stages": {"queue_us": 12, "log_us": 1_200_000}}
    with browser.page(360) as page:
        page.route("**/commands/slow_requests", lambda route: route.fulfill(json={"threshold_ms": 1000, "requests": [request]}))
        go(page, browser, "slow")
        for text in "longer than 1000 ms", "1.23 s", "log 1.2 s", "queue 12 µs", "0xa02d87b72c078000":
            sees(page, text)
        fits(page)
    with browser.page() as page:
        go(page, browser, "slow")
        sees(page, re.compile("keeps no list of slow requests|Requests that took longer"))


def goes_away(browser, server, load):
    """A server that ends is said once, and one that is back is shown again without a reload."""
    load.close()
    with browser.page(tolerates="ERR_CONNECTION|ERR_EMPTY|ERR_INCOMPLETE") as page:
        go(page, browser, "overview")
        sees(page, "Ready")
        assert page.locator("#trouble").inner_text() == ""
        server.stop(1)
        page.locator("#trouble").get_by_text("The server does not answer").wait_for()
        server.start(1)
        page.locator("#trouble:empty").wait_for(state="attached")
        sees(page, "Ready")


def ensemble(browser, command, folder, shots):
    """A leader shows how far each server is, another member who leads."""
    with admin.Servers(command, folder, 3) as servers:
        roles = {servers.role(sid): sid for sid in servers.ports}
        load = Load(f"127.0.0.1:{servers.ports[roles['leader']]}")
        load.some()
        for role, texts in ("leader", ["follower", "observer", "0 txns"]), ("follower", ["leader", "not known here"]):
            base = f"http://127.0.0.1:{servers.ports[roles[role]] + 1}"
            for width in SIZES:
                with browser.page(width, "dark" if width == 360 else "light", base) as page:
                    go(page, browser, "overview", base)
                    for text in ["Ready", f"{roles[role]} (this one)", *texts]:
                        sees(page, text)
                    fits(page)
                    is_usable(page, role)
                    if role == "leader":
                        # Each learner has all, and is said to.
                        page.locator("td[data-heading=Lag]:text-is('0 txns')").nth(1).wait_for()
                    if shots:
                        page.wait_for_timeout(4500)
                        page.screenshot(path=shots / f"{role}-{width}.png", full_page=True)
        load.close()
        servers.stop(*(sid for role, sid in roles.items() if role != "observer"))
        base = f"http://127.0.0.1:{servers.ports[roles['observer']] + 1}"
        # A server that does not serve has status 503 for /ready.
        with browser.page(base=base, tolerates="status of 503") as page:
            go(page, browser, "overview", base)
            sees(page, "Not ready")
            sees(page, "it has no leader")


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--shots", metavar="FOLDER", type=pathlib.Path, help="write pictures there")
    arguments = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("0 passed, 0 failed, 1 skipped: no Chromium on PATH")
        sys.exit(0)
    crowd.allow_files(2 * SESSIONS)
    if arguments.shots:
        arguments.shots.mkdir(parents=True, exist_ok=True)
    with support.scratch("console") as folder, sync_playwright() as playwright:
        # Its sandbox does not work as root.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        single, members = folder / "single", folder / "ensemble"
        single.mkdir()
        members.mkdir()
        with admin.Servers(arguments.server, single, 1, maxClientCnxns=0, maxSessionTimeout=600_000, tickTime=2000,
                           **{"ssl.keyStore.password": "s3cret", "snapCuont": 1}) as server:
            port = server.ports[1]
            load = Load(f"127.0.0.1:{port}")
            pages = Browser(browser, f"http://127.0.0.1:{port + 1}")
            cases = {
                "views": lambda: views(pages, load, arguments.shots),
                "charts": lambda: charts(pages, load),
                "keyboard": lambda: keyboard(pages),
                "names_that_are_html": lambda: names_that_are_html(pages),
                "data": lambda: data(pages),
                "access_lists": lambda: access_lists(pages),
                "many_children": lambda: many_children(pages, port),
                "many_sessions": lambda: many_sessions(pages, port, load),
                "ensemble": lambda: ensemble(pages, arguments.server, members, arguments.shots),
                "slow_requests": lambda: slow_requests(pages),
                "goes_away": lambda: goes_away(pages, server, load),
            }
            for name, case in cases.items():
                case.__name__ = name
            support.run_cases(cases.values(), folder)


if __name__ == "__main__":
    main()
