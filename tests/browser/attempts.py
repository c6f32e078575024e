"""What a page can do to make a browser send a request: each way by which a foreign page may try the proxy.

A script is the body of an asynchronous function of `target` (where the request is to go) and `server` (the page's own
server); it returns whatever of the answer it could read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

#: In every answer of the upstream; who has read it has read the answer.
SECRET: Final = "upstream-secret"

Kind = Literal["text", "page", "script", "style", "image", "events", "websocket"]

PRELUDE: Final = """
const made = (tag, attributes) => Object.assign(document.createElement(tag), attributes);
const read = async (response) => response.type === 'opaque' ? '' : `${response.status} ${await response.text()}`;
const ended = (element) => new Promise((done) => { element.onload = element.onerror = () => done(); });
const put = async (tag, attributes, parent = document.body) => {
  const element = made(tag, attributes);
  const end = ended(element);
  parent.append(element);
  await end;
  return element;
};
const inside = (frame) => { try { return frame.contentDocument.documentElement.outerHTML; } catch { return ''; } };
const leaked = () => self.leaked ?? '';
const form = (attributes, parent = document.body) => {
  const element = made('form', attributes);
  element.append(made('input', {name: 'amount', value: '1000000'}));
  parent.append(element);
  return element;
};
const blob = (text, type = 'text/javascript') => URL.createObjectURL(new Blob([text], {type}));
const message = (port) => new Promise((done) => {
  port.onmessage = (event) => done(String(event.data ?? ''));
  port.onerror = () => done('');
});
const xhr = (method, target, prepare = () => {}, body = null) => new Promise((done) => {
  const request = new XMLHttpRequest();
  request.open(method, target);
  prepare(request);
  request.onload = () => done(`${request.status} ${request.responseText}`);
  request.onerror = () => done('');
  request.send(body);
});
const via = (status) => `${server}/redirect?status=${status}&to=${encodeURIComponent(target)}`;
const style = () => getComputedStyle(document.body).getPropertyValue('--leaked');
const later = (action) => { setTimeout(action, 0); return ''; };
"""


@dataclass(frozen=True)
class Attempt:
    """One way.

    Args:
        kind: what the upstream answers, so that there would be something to read.
        method: of the request that would reach the upstream.
        arrives: how many requests reach a server that has no guard, from a page of another origin; 0: the browser
            holds it back.
        preflighted: the browser asks with OPTIONS first (Fetch standard, CORS-preflight fetch).
        navigates: the page itself goes away.
        reads: a page of the proxy's own origin, or a listed one where `cors`, reads the answer.
        cors: it asks for permission by CORS, or names its Origin.
        foreign: there is something of another server in it, so that it is nobody's own request.
        unnamed: it comes with neither Origin nor Referer, so that nobody can tell which page sent it.
        rebound: how many requests come from a page whose name was rebound to the proxy's address, where not as usual.
    """

    name: str
    script: str
    kind: Kind = "text"
    method: str = "GET"
    arrives: int = 1
    preflighted: bool = False
    navigates: bool = False
    reads: bool = False
    cors: bool = False
    foreign: bool = False
    unnamed: bool = False
    rebound: int | None = None


def _fetch(name: str, options: str, method: str = "GET", **more: bool) -> Attempt:
    script = f"return fetch(target, {options}).then(read, () => '');"
    return Attempt(name, script, method=method, **{"cors": True, "reads": True, **more})  # type: ignore[arg-type]


FETCHES: Final = (
    _fetch("fetch_get", "{}"),
    _fetch("fetch_get_with_credentials", "{credentials: 'include'}"),
    _fetch("fetch_get_without_referrer", "{referrerPolicy: 'no-referrer'}"),
    _fetch("fetch_head", "{method: 'HEAD'}", "HEAD", reads=False),
    _fetch("fetch_post_plain_text", "{method: 'POST', body: 'x'}", "POST"),
    _fetch("fetch_post_form_content", "{method: 'POST', body: new URLSearchParams({a: 1})}", "POST"),
    _fetch(
        "fetch_post_json",
        "{method: 'POST', body: '{}', headers: {'Content-Type': 'application/json'}, credentials: 'include'}",
        "POST",
        preflighted=True,
    ),
    _fetch("fetch_put", "{method: 'PUT', body: 'x'}", "PUT", preflighted=True),
    _fetch("fetch_delete_with_a_field", "{method: 'DELETE', headers: {'X-Mine': '1'}}", "DELETE", preflighted=True),
    _fetch("fetch_patch", "{method: 'PATCH', body: 'x'}", "PATCH", preflighted=True),
    _fetch("fetch_get_with_authorization", "{headers: {Authorization: 'Bearer mine'}}", preflighted=True),
    _fetch("fetch_keepalive_post", "{method: 'POST', body: 'x', keepalive: true}", "POST"),
    _fetch("fetch_no_cors_get", "{mode: 'no-cors'}", cors=False),
    _fetch("fetch_no_cors_get_with_credentials", "{mode: 'no-cors', credentials: 'include'}", cors=False),
    _fetch(
        "fetch_no_cors_post_plain_text",
        "{mode: 'no-cors', method: 'POST', body: 'x', headers: {'Content-Type': 'text/plain'}}",
        "POST",
        cors=False,
    ),
    _fetch(
        "fetch_no_cors_without_referrer", "{mode: 'no-cors', referrerPolicy: 'no-referrer'}", cors=False, unnamed=True
    ),
    _fetch(
        "fetch_no_cors_keepalive", "{mode: 'no-cors', method: 'POST', body: 'x', keepalive: true}", "POST", cors=False
    ),
    Attempt(
        "fetch_same_origin_mode",
        "return fetch(target, {mode: 'same-origin'}).then(read, () => '');",
        arrives=0,
        reads=True,
    ),
    Attempt(
        "xhr_get",
        "return xhr('GET', target);",
        cors=True,
        reads=True,
    ),
    Attempt(
        "xhr_post_with_credentials",
        "return xhr('POST', target, (request) => { request.withCredentials = true; }, 'x');",
        method="POST",
        cors=True,
        reads=True,
    ),
    Attempt(
        "xhr_upload_with_progress",
        "return xhr('POST', target, (request) => { request.upload.onprogress = () => {}; }, 'x');",
        method="POST",
        preflighted=True,
        cors=True,
        reads=True,
    ),
    Attempt("beacon", "return navigator.sendBeacon(target, 'x') ? '' : 'refused';", method="POST"),
)

FORMS: Final = (
    *(
        Attempt(
            f"form_post_{name}",
            f"return later(() => form({{action: target, method: 'post', enctype: '{enctype}'}}).submit());",
            method="POST",
            navigates=True,
        )
        for name, enctype in (
            ("urlencoded", "application/x-www-form-urlencoded"),
            ("plain_text", "text/plain"),
            ("multipart", "multipart/form-data"),
        )
    ),
    Attempt("form_get", "return later(() => form({action: target, method: 'get'}).submit());", navigates=True),
    Attempt(
        "form_post_into_a_frame",
        """const frame = await put('iframe', {name: 'into'});
        const end = ended(frame);
        form({action: target, method: 'post', target: 'into'}).submit();
        await end;
        return inside(frame);""",
        method="POST",
        reads=True,
    ),
)

NAVIGATIONS: Final = (
    Attempt(
        "link",
        "return later(() => made('a', {href: target}).click());",
        navigates=True,
    ),
    Attempt(
        "link_without_referrer",
        "return later(() => made('a', {href: target, rel: 'noreferrer'}).click());",
        navigates=True,
        unnamed=True,
    ),
    Attempt("location", "return later(() => { location.href = target; });", navigates=True),
    Attempt(
        "meta_refresh",
        """return later(() => document.head.append(
          made('meta', {httpEquiv: 'refresh', content: `0; url=${target}`})));""",
        navigates=True,
    ),
    Attempt(
        "popup",
        "const opened = open(target); return '';",
    ),
    Attempt(
        "redirect_of_a_navigation",
        "return later(() => { location.href = via(302); });",
        navigates=True,
        foreign=True,
    ),
    Attempt(
        "redirect_of_a_form_post",
        "return later(() => form({action: via(307), method: 'post'}).submit());",
        method="POST",
        navigates=True,
        foreign=True,
    ),
    Attempt(
        "redirect_of_a_fetch",
        "return fetch(via(307), {method: 'POST', body: 'x', mode: 'no-cors'}).then(read, () => '');",
        method="POST",
        foreign=True,
    ),
    Attempt(
        "hyperlink_auditing",
        "const link = made('a', {href: '#', ping: target}); document.body.append(link); link.click(); return '';",
        method="POST",
    ),
    Attempt(
        "violation_report",
        "await put('iframe', {src: `${server}/reporting?to=${encodeURIComponent(target)}`}); return '';",
        method="POST",
        foreign=True,
    ),
)

FRAMES: Final = (
    Attempt("frame", "return inside(await put('iframe', {src: target}));", "page", reads=True),
    Attempt(
        "frame_without_referrer",
        "return inside(await put('iframe', {src: target, referrerPolicy: 'no-referrer'}));",
        "page",
        reads=True,
        unnamed=True,
    ),
    Attempt("sandboxed_frame", "return inside(await put('iframe', {src: target, sandbox: ''}));", "page"),
    Attempt("object", "return inside(await put('object', {data: target, type: 'text/html'}));", "page", reads=True),
    Attempt("embed", "await put('embed', {src: target, type: 'text/html'}); return '';", "page"),
    Attempt(
        "fetch_from_a_sandboxed_frame",
        """const heard = message(window);
        const script = `fetch('${target}', {method: 'POST', body: 'x'}).then((r) => r.text(), () => '')
          .then((text) => parent.postMessage(text, '*'))`;
        put('iframe', {sandbox: 'allow-scripts', srcdoc: `<script>${script}</` + 'script>'});
        return heard;""",
        method="POST",
        foreign=True,
    ),
    Attempt(
        "form_post_from_a_data_frame",
        """const page = `<form method=post action="${target}"><input name=a value=1></form>
          <script>document.forms[0].submit()</` + 'script>';
        await put('iframe', {src: 'data:text/html,' + encodeURIComponent(page)});
        return '';""",
        method="POST",
        foreign=True,
    ),
)

RESOURCES: Final = (
    Attempt("img", "return (await put('img', {src: target})).naturalWidth === 7 ? SECRET : '';", "image", reads=True),
    Attempt(
        "img_without_referrer",
        "return (await put('img', {src: target, referrerPolicy: 'no-referrer'})).naturalWidth === 7 ? SECRET : '';",
        "image",
        reads=True,
        unnamed=True,
    ),
    Attempt(
        "img_with_cors",
        "return (await put('img', {crossOrigin: 'use-credentials', src: target})).naturalWidth === 7 ? SECRET : '';",
        "image",
        cors=True,
        reads=True,
    ),
    Attempt("css_background", "document.body.style.backgroundImage = `url('${target}')`; return '';", "image"),
    Attempt("audio", "const sound = new Audio(target); sound.preload = 'auto'; sound.load(); return '';"),
    Attempt("script", "await put('script', {src: target}); return leaked();", "script", reads=True),
    Attempt(
        "script_without_referrer",
        "await put('script', {src: target, referrerPolicy: 'no-referrer'}); return leaked();",
        "script",
        reads=True,
        unnamed=True,
    ),
    Attempt(
        "module",
        "await put('script', {type: 'module', src: target}); return leaked();",
        "script",
        cors=True,
        reads=True,
    ),
    Attempt(
        "dynamic_import", "await import(target).catch(() => null); return leaked();", "script", cors=True, reads=True
    ),
    Attempt(
        "stylesheet",
        "await put('link', {rel: 'stylesheet', href: target}); return style();",
        "style",
        reads=True,
    ),
    Attempt(
        "css_import",
        "await put('style', {textContent: `@import url('${target}')`}); return style();",
        "style",
        reads=True,
    ),
    Attempt("font", "await new FontFace('f', `url('${target}')`).load().catch(() => null); return '';", cors=True),
    Attempt("prefetch", "await put('link', {rel: 'prefetch', href: target}, document.head); return '';"),
    Attempt(
        "preload", "await put('link', {rel: 'preload', as: 'image', href: target}, document.head); return '';", "image"
    ),
    Attempt(
        "modulepreload",
        "await put('link', {rel: 'modulepreload', href: target}, document.head); return '';",
        "script",
        cors=True,
    ),
)

WORKERS: Final = (
    Attempt(
        "worker_import_scripts",
        "return message(new Worker(blob(`try { importScripts('${target}') } catch {} postMessage(self.leaked)`)));",
        "script",
        reads=True,
        unnamed=True,
    ),
    Attempt(
        "fetch_in_a_worker",
        "return message(new Worker(blob(`fetch('${target}').then((r) => r.text(), () => '').then(postMessage)`)));",
        cors=True,
        reads=True,
    ),
    Attempt(
        "worker",
        "try { return await message(new Worker(target)); } catch { return ''; }",
        "script",
        arrives=0,
        reads=True,
    ),
    Attempt(
        "service_worker",
        """const done = await navigator.serviceWorker?.register(target).catch(() => null);
        if (!done) return '';
        const script = done.installing.scriptURL; await done.unregister(); return script === target ? SECRET : '';""",
        "script",
        arrives=0,
        reads=True,
        rebound=0,  # not in what is no secure context
    ),
)

STREAMS: Final = (
    *(
        Attempt(
            name,
            f"""const source = new EventSource(target, {{withCredentials: {credentials}}});
            const heard = await message(source);
            source.close();
            return heard;""",
            "events",
            cors=True,
            reads=True,
        )
        for name, credentials in (("event_source", "false"), ("event_source_with_credentials", "true"))
    ),
    Attempt(
        "websocket", "return message(new WebSocket(target.replace('http', 'ws')));", "websocket", cors=True, reads=True
    ),
    Attempt(
        "websocket_with_a_protocol",
        "return message(new WebSocket(target.replace('http', 'ws'), 'v1'));",
        "websocket",
        cors=True,
        reads=True,
    ),
)

ATTEMPTS: Final = (*FETCHES, *FORMS, *NAVIGATIONS, *FRAMES, *RESOURCES, *WORKERS, *STREAMS)


def expression(attempt: Attempt, target: str, server: str) -> str:
    """Return the whole script."""
    constants = f"const target = {target!r}, server = {server!r}, SECRET = {SECRET!r};"
    return f"(async () => {{ {constants}\n{PRELUDE}\n{attempt.script} }})()"
