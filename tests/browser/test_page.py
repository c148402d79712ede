"""The page as people use it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from acceptance.conftest import Site
from acceptance_support import wait_until
from browser.conftest import BUCKET, MARKUP, TOKEN, Open, total
from fake_meilisearch import FakeMeilisearch
from imgtag.query import parse
from imgtag.types.folding import normalise

EVERYTHING = "?confidence=0&q=status:*"


def count(page: Page) -> int:
    """How many pictures it says were found."""
    expect(page.locator(".found")).to_contain_text("picture")
    expect(page.locator(".gallery.busy")).to_have_count(0)
    return int(page.locator(".found").inner_text().split()[0].replace(",", ""))


def tiles(page: Page) -> list[str]:
    """The names of the pictures that are rendered."""
    return [
        label.partition(";")[0] for label in page.locator(".tile a").evaluate_all("all => all.map(a => a.ariaLabel)")
    ]


def search(page: Page, query: str) -> None:
    """Type a query and start its search."""
    page.get_by_role("combobox", name="Search pictures").fill(query)
    page.keyboard.press("Enter")


def scroll(page: Page, pixels: int) -> None:
    """Turn the wheel, and wait until the page stands still."""
    page.mouse.wheel(0, pixels)
    is_still = "new Promise(go => { const y = scrollY; setTimeout(() => go(y === scrollY), 100) })"
    wait_until(lambda: page.evaluate(is_still))


def test_results_follow_while_a_word_is_typed_and_suggestions_complete_it(site: Site, open_page: Open):
    """Half a word finds pictures; a suggestion, chosen with the arrow keys, becomes a chip that can be removed."""
    page = open_page(site)
    everything = count(page)
    box = page.get_by_role("combobox", name="Search pictures")
    box.fill("flow")
    expect(page.locator(".tile").first).to_be_visible()
    wait_until(lambda: 0 < count(page) < everything)

    box.fill("tab")
    option = page.get_by_role("option", name="tabby", exact=True)
    expect(option).to_be_visible()
    expect(box).to_have_attribute("aria-expanded", "true")
    while option.get_attribute("aria-selected") != "true":
        box.press("ArrowDown")
    assert box.get_attribute("aria-activedescendant") == option.get_attribute("id")
    box.press("Enter")

    expect(page).to_have_url(f"{page.url.partition('?')[0]}?q=tabby")
    expect(page.locator(".chip")).to_have_text("tabby×")
    assert 0 < count(page) < everything
    page.get_by_role("link", name="Remove tabby").click()
    expect(page.locator(".chip")).to_have_count(0)
    assert count(page) == everything


def test_pictures_do_not_wait_for_counts(site: Site, open_page: Open):
    """They are shown while the values of all hits are counted; the page says so where that fails."""
    page = open_page(site, expected=(503,))
    facet = page.locator(".facet", has_text="Category").get_by_role("link").first
    before = facet.text_content()
    assert before
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page.route("**/api/facets*", hold)
    with page.expect_request("**/api/facets*"):
        search(page, "type:jpeg")
    assert count(page) == total(site, "type:jpeg confidence>=0.2")
    assert tiles(page)
    expect(facet).to_have_text(before)

    error = {"code": "busy", "message": "too many requests at once", "hint": ""}
    for route in waiting:
        route.fulfill(status=503, json={"error": error})
    expect(page.locator("#filters p").first).to_have_text("The counts are missing: too many requests at once")
    page.unroute("**/api/facets*")
    page.locator("#filters").get_by_role("button", name="Try again").click()
    expect(facet).to_be_visible()
    search(page, "")
    expect(facet).to_have_text(before)


def test_facets_and_the_slider_narrow_the_result_by_what_they_say(site: Site, open_page: Open):
    """A count is what the choice finds, and a second choice adds its own; the slider starts at 0.20."""
    page = open_page(site)
    everything = count(page)
    facet = page.locator(".facet", has_text="Category").get_by_role("link").first
    number = int(facet.locator(".count").inner_text())
    facet.click()
    expect(page.locator(".facet [aria-current=true]")).to_have_count(1)
    assert count(page) == number
    other = page.locator(".facet", has_text="Category").locator("a:not([aria-current])").first
    more = int(other.locator(".count").inner_text())
    other.click()
    expect(page.locator(".facet [aria-current=true]")).to_have_count(2)
    assert count(page) == number + more
    expect(page.locator(".chip")).to_contain_text(" or ")
    for left in (1, 0):
        page.locator(".facet [aria-current=true]").first.click()
        expect(page.locator(".facet [aria-current=true]")).to_have_count(left)
    expect(page.locator(".chip")).to_have_count(0)

    slider = page.get_by_role("slider")
    expect(slider).to_have_value("0.2")
    slider.fill("0.9")
    sure = total(site, "confidence>=0.9")
    assert 1 < sure < everything
    expect(page.locator(".found")).to_have_text(f"{sure} pictures")
    assert page.url.endswith("?confidence=0.9")
    shown = page.locator(".tile .caption small").all_inner_texts()
    assert all(int(text.split()[0]) >= 90 for text in shown)


def test_all_pictures_come_by_scrolling_and_none_moves(site: Site, open_page: Open):
    """The list grows at its end only, stays small in the document, and ends with all pictures."""
    page = open_page(site, EVERYTHING)
    everything = count(page)
    places: dict[str, str] = {}

    def is_everything_seen() -> bool:
        shown = page.locator(".tile").evaluate_all(
            "all => all.map(tile => [tile.querySelector('a').dataset.index, tile.style.left + ' ' + tile.style.top])"
        )
        assert len(shown) < everything
        for index, place in shown:
            assert places.setdefault(index, place) == place
        scroll(page, 500)
        return len(places) == everything

    wait_until(is_everything_seen, describe=lambda: f"{len(places)} of {everything} seen")
    assert set(map(int, places)) == set(range(everything))
    expect(page.locator(".more-state")).to_contain_text("All")


def test_no_picture_is_missed_when_others_are_deleted_meanwhile(site: Site, open_page: Open):
    """Those that move up over the edge of a page that is there already are shown all the same."""
    page = open_page(site, EVERYTHING)
    before = count(page)
    gone = [site.root / "parts" / name for name in tiles(page) if re.fullmatch(r"\d{3}\.jpg", name)][:3]
    files = {path: (path.read_bytes(), path.stat()) for path in gone}
    try:
        for path in gone:
            path.unlink()
        wait_until(lambda: total(site, "status:*") == before - len(gone))
        left = {path.name for path in site.root.rglob("*.*")}

        def is_everything_seen() -> bool:
            left.difference_update(tiles(page))
            page.mouse.wheel(0, 400)
            page.wait_for_timeout(60)
            return not left

        wait_until(is_everything_seen, describe=lambda: f"{left} not seen")
    finally:
        for path, (data, stat) in files.items():
            path.write_bytes(data)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        wait_until(lambda: total(site, "status:*") == before)


@pytest.mark.parametrize("reload", [False, True])
def test_back_returns_to_the_same_place(site: Site, open_page: Open, reload: bool):
    """After another search, or a visit elsewhere, the list is where it was, also where it must be loaded again."""
    page = open_page(site, EVERYTHING)
    count(page)
    while page.evaluate("scrollY") <= 2000:  # each time, more is loaded
        scroll(page, 1500)
    wait_until(lambda: page.evaluate("history.state.scroll") == page.evaluate("Math.round(scrollY)"))
    before, name = page.evaluate("Math.round(scrollY)"), tiles(page)[len(tiles(page)) // 2]
    if reload:
        page.goto("about:blank")
    else:
        page.locator("#search").fill("cat")
        page.locator("#search").press("Enter")
        expect(page.locator(".chip")).to_have_text("cat×")
        wait_until(lambda: page.evaluate("scrollY") == 0)
    page.go_back()

    wait_until(lambda: abs(page.evaluate("scrollY") - before) <= 1)
    wait_until(lambda: name in tiles(page))


def test_an_object_shows_all_that_is_known_and_what_is_like_it(site: Site, open_page: Open):
    """Labels, EXIF, position, origin; back and Escape return, with the focus on the picture."""
    page = open_page(site, "?q=title:chelsea")
    page.locator(".tile a").first.click()
    view = page.get_by_role("dialog")
    expect(view.get_by_role("heading", level=2)).to_have_text("chelsea.jpg")
    for text in ("tiger cat", "imgtag demo", "efficientnet-lite0", "33.9321° S, 18.8602° E", str(site.root / "pets")):
        expect(view).to_contain_text(text)
    expect(view.get_by_role("img", name="Position")).to_be_visible()
    expect(view.locator(".picture img")).to_have_js_property("complete", value=True)
    assert view.locator(".picture img").evaluate("image => image.naturalWidth") > 100
    with page.context.expect_page() as opened:
        view.get_by_role("link", name="Open original").click()
    original = opened.value.locator("img")
    expect(original).to_have_js_property("complete", value=True)
    assert original.evaluate("image => image.naturalWidth") > 100
    opened.value.close()

    similar = view.locator(".similar a").first
    similar.click()
    expect(view.get_by_role("heading", level=2)).not_to_have_text("chelsea.jpg")
    page.go_back()
    expect(view.get_by_role("heading", level=2)).to_have_text("chelsea.jpg")
    similar.click()
    expect(view.get_by_role("heading", level=2)).not_to_have_text("chelsea.jpg")
    page.keyboard.press("Escape")  # leaves all of them
    expect(view).to_have_count(0)
    expect(page.locator(".tile a").first).to_be_focused()
    assert page.url.endswith("?q=title:chelsea")


def test_places_of_labels_are_drawn_on_the_picture(site: Site, open_page: Open):
    """Where the model says where things are, as a remote one may; a button hides them."""
    page = open_page(site, "?q=title:chelsea")
    page.locator(".tile a").first.click()
    view = page.get_by_role("dialog")
    expect(view.locator(".facts dl").first).to_be_visible()
    expect(view.get_by_role("button", name="Places")).to_have_count(0)
    page.keyboard.press("Escape")

    def add_boxes(route: Route) -> None:
        answer = route.fetch()
        boxes = [{"label": "tiger cat", "left": 0.25, "top": 0.5, "width": 0.5, "height": 0.25}]
        route.fulfill(response=answer, json={**answer.json(), "boxes": boxes})

    page.route(re.compile("/api/objects/[^/]+$"), add_boxes)
    page.locator(".tile a").first.click()
    expect(view.locator(".places text")).to_have_text("tiger cat")
    expect(view).to_contain_text("tiger cat 1")
    image, place = view.locator(".picture img").bounding_box(), view.locator(".places rect").bounding_box()
    assert image
    assert place
    expected = (
        image["x"] + image["width"] / 4,
        image["y"] + image["height"] / 2,
        image["width"] / 2,
        image["height"] / 4,
    )
    assert (place["x"], place["y"], place["width"], place["height"]) == pytest.approx(expected, abs=3)

    view.get_by_role("button", name="Places").click()
    expect(view.locator(".places")).to_have_count(0)
    expect(view.get_by_role("button", name="Places")).to_have_attribute("aria-pressed", "false")


def test_every_number_of_the_dashboard_leads_to_that_many_pictures(site: Site, open_page: Open):
    """Totals, columns, slices, bars and words are links to what they count."""
    page = open_page(site, "?view=dashboard")
    expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")
    expect(page.locator(".totals a", has_text="Failed").locator("b")).to_have_text("1")
    links = {  # to where the number is: in the text of this element, or after the name in the label of the link
        ".totals a:has-text('Labelled') >> nth=0": "b",
        "[aria-label='Pictures over time'] svg a >> nth=0": "",
        "[aria-label='Categories'] svg a >> nth=0": "",
        "[aria-label='Top labels'] li a >> nth=0": ".count",
        "[aria-label='Confidence of the best label'] svg a >> nth=9": "",
        "[aria-label='Failures by reason'] li a >> nth=0": ".count",
        "[aria-label='All labels'] li a >> nth=0": ".hidden",
    }
    for place, inner in links.items():
        link = page.locator(place)
        text = link.locator(inner).text_content() if inner else link.get_attribute("aria-label").split(": ")[1]
        expected = int(re.search("[0-9]+", text)[0])
        link.focus()
        page.keyboard.press("Enter")
        assert count(page) == expected, place
        page.go_back()
        expect(page.locator(place)).to_be_visible()
    assert page.locator(".state.good").count() == 2


def test_what_arrives_is_offered_and_moves_nothing(site: Site, open_page: Open):
    """A new picture is announced; the list stays until somebody asks for it."""
    page = open_page(site, EVERYTHING)
    before = count(page)
    scroll(page, 900)
    view = page.evaluate("scrollY"), tiles(page)
    new = site.root / "arrived.jpg"
    try:
        shutil.copy(site.root / "kitchen/coffee.jpg", new)
        pill = page.get_by_role("button", name="1 new picture")
        expect(pill).to_be_visible()
        assert (page.evaluate("scrollY"), tiles(page)) == view
        pill.click()
        wait_until(lambda: count(page) == before + 1)
        assert page.evaluate("scrollY") == 0
        expect(page.get_by_role("button", name="new picture")).to_have_count(0)
    finally:
        new.unlink(missing_ok=True)
        wait_until(lambda: total(site, "status:*") == before)


def test_nothing_found_says_what_is_close(site: Site, open_page: Open):
    """A mistyped word leads to the label; a query that cannot be read is marked where it is wrong."""
    page = open_page(site, "?q=flwoer", expected=(400,))
    expect(page.get_by_role("heading", name="No picture matches")).to_be_visible()
    page.locator(".empty .chip a").first.click()
    expect(page.locator(".chip")).to_have_count(1)

    page.locator("#search").fill("cat OR")
    page.locator("#search").press("Enter")
    expect(page.get_by_role("alert").locator("mark")).to_have_text("OR")


def test_markup_in_names_is_text(site: Site, open_page: Open):
    """Bucket, key, label, category, camera and the reason of a failure are shown as they are."""
    page = open_page(site, EVERYTHING)
    expect(page.locator(".facet", has_text="Bucket").get_by_role("link")).to_contain_text(BUCKET)
    expect(page.locator(".facet", has_text="Category")).to_contain_text(MARKUP)
    page.goto(f"?q=camera:*+title:{'%22' + MARKUP.replace(' ', '+') + '%22'}")
    assert count(page) == 1
    page.locator(".tile a").click()
    view = page.get_by_role("dialog")
    expect(view.get_by_role("heading", level=2)).to_have_text(f"{MARKUP}.jpg")
    for text in (BUCKET, MARKUP):
        expect(view.locator(".facts")).to_contain_text(text)
    view.get_by_role("link", name=MARKUP).first.click()  # its label
    expect(page.locator(".chip").first).to_contain_text(MARKUP)
    assert count(page) > 1

    page.goto("?q=status:failed")  # whatever the slider says
    expect(page.locator(".missing")).to_contain_text(MARKUP)
    expect(page.locator(".missing")).to_contain_text("not_an_image")
    page.goto("?view=dashboard")
    expect(page.locator(".donut")).to_contain_text(MARKUP)


def test_the_keyboard_is_enough(site: Site, open_page: Open):
    """/ searches, Enter opens, arrows go on, Space and Shift select, Escape leaves, ? helps."""
    page = open_page(site)
    count(page)
    press = page.keyboard.press
    press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("category:animal")
    press("Enter")
    expect(page.locator(".chip")).to_have_count(1)
    assert count(page) > 4
    page.locator(".skip").focus()
    press("Enter")
    press("Tab")
    expect(page.locator(".tile a[data-index='0']")).to_be_focused()
    press("ArrowRight")
    press("ArrowRight")
    press("ArrowLeft")
    expect(page.locator(".tile a[data-index='1']")).to_be_focused()
    press("Enter")
    view = page.get_by_role("dialog")
    first = view.get_by_role("heading", level=2).inner_text()
    press("ArrowRight")
    expect(view.get_by_role("heading", level=2)).not_to_have_text(first)
    press("Escape")
    expect(view).to_have_count(0)
    expect(page.locator(".tile a[data-index='2']")).to_be_focused()
    press("Space")
    press("Shift+ArrowRight")
    expect(page.get_by_role("toolbar")).to_contain_text("2 pictures selected")
    press("Escape")
    expect(page.get_by_role("toolbar")).to_have_count(0)
    press("?")
    expect(page.get_by_role("dialog", name="Help")).to_be_visible()
    press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_selection_becomes_keys_a_manifest_and_a_command(site: Site, open_page: Open, tmp_path: Path):
    """By mouse with Shift; the command is safe in a shell, and finds exactly these objects."""
    page = open_page(site, "?q=parts&confidence=0")
    count(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".tile input").nth(0).check(force=True)
    page.locator(".tile a").nth(3).click(modifiers=["Shift"])
    bar = page.get_by_role("toolbar")
    expect(bar).to_contain_text("4 pictures selected")

    bar.get_by_role("button", name="Copy keys").click()
    expect(page.locator(".message")).to_have_text("Keys copied")
    keys = set(page.evaluate("navigator.clipboard.readText()").splitlines())
    assert len(keys) == 4
    with page.expect_download() as download:
        bar.get_by_role("button", name="Download manifest").click()
    lines = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert {f"{line['bucket']}/{line['key']}" for line in lines} == keys
    bar.get_by_role("button", name="Copy command").click()
    expect(page.locator(".message")).to_have_text("Command copied")
    command = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    assert command[:5] == ["imgtag", "dataset", "copy", "--to", "BUCKET/PREFIX"]
    assert command[5] == "--"
    found = {
        f"{hit['bucket']}/{hit['key']}"
        for hit in map(json.loads, site.run("search", "--json", command[6]).splitlines())
    }
    assert found == keys


def test_a_token_opens_the_page_and_a_lost_index_is_waited_for(guarded: tuple[Site, FakeMeilisearch], open_page: Open):
    """A wrong token is refused; while the index is down the page says so, and it goes on by itself."""
    site, index = guarded
    page = open_page(site, "?q=animal", expected=(401, 403, 502, 503))
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_label("Token").press("Enter")
    assert count(page) > 0
    assert not page.evaluate("document.cookie")

    index.down()
    page.locator("#search").fill("vehicle")
    page.locator("#search").press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    index.up()
    expect(page.get_by_role("alert")).to_have_count(0, timeout=30_000)
    assert count(page) >= 0

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Token")).to_be_visible()


VIEWS = ("?", "?q=flwoer", "?view=dashboard", "?q=cat+OR", EVERYTHING)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(site: Site, open_page: Open, scheme: str):
    """axe finds nothing serious in any view, with an object, the help, and suggestions open, by light and by dark."""
    page = open_page(site, expected=(400,), color_scheme=scheme, reduced_motion="reduce")

    def check(what: str) -> None:
        rules = None if scheme == "light" else {"runOnly": ["color-contrast"]}  # the rest is the same
        found = Axe().run(page, options=rules).response["violations"]
        serious = [problem for problem in found if problem["impact"] in {"serious", "critical"}]
        assert not serious, f"{what}: {json.dumps(serious, indent=1)[:3000]}"

    for view in VIEWS[1:]:
        page.goto(view)
        expect(page.locator("main")).to_be_visible()
        expect(page.locator("[aria-busy=true], .loading")).to_have_count(0)
        check(view)
    page.locator(".tile a").first.click()
    expect(page.locator(".facts dl").first).to_be_visible()
    check("object")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    check("help")
    page.keyboard.press("Escape")
    page.locator("#search").fill("ca")
    expect(page.get_by_role("option").first).to_be_visible()
    check("suggestions")


def test_it_fits_a_phone(site: Site, open_page: Open):
    """At 360 pixels nothing is cut off at the side; the filters open, and narrow the result."""
    page = open_page(site, expected=(400,), viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    for view in VIEWS:
        page.goto(view)
        expect(page.locator("main")).to_be_visible()
        expect(page.locator("[aria-busy=true], .loading")).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") == 360, view
    page.goto("?")
    everything = count(page)
    page.get_by_role("button", name="Filters").click()
    page.locator(".facet", has_text="Category").get_by_role("link").first.click()
    expect(page.locator(".chip")).to_have_count(1)
    assert count(page) < everything
    page.locator(".tile a").first.tap()
    expect(page.locator(".facts dl").first).to_be_visible()
    assert page.get_by_role("dialog").evaluate("dialog => dialog.scrollWidth") == 360


HOSTILE = (
    *("a b", "it's", '"', "\\", '\\"', "$(id)", "`id`", "-x", "--yes", "a;b", "a\nb", "\x1b[2J", "ü ñ 漢", "or"),
    *("x*", "*", "a:b", "!!", "stop_sign", MARKUP),
)


def test_names_are_quoted_for_the_query_and_for_a_shell(site: Site, open_page: Open):
    """Whatever is in a name, the parser reads that name, and a shell passes it on as one argument."""
    page = open_page(site)
    quoted = page.evaluate(
        "names => import('/page/query.js').then(page => names.map(name => [page.quote(name), page.shellQuote(name)]))",
        list(HOSTILE),
    )
    for name, (in_query, in_shell) in zip(HOSTILE, quoted, strict=True):
        assert repr(normalise(name)) in repr(parse(f"bucket:{in_query}").condition)
        always_quoted = '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
        assert parse(f"label:{in_query}") == parse(f"label:{always_quoted}")
        done = subprocess.run(["bash", "-c", f"printf %s {in_shell}"], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == (name, "")
        assert name.isprintable() or in_shell.isprintable()
