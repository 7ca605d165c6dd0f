"""What all pages of the runtime begin with: their head, and one style sheet for light and dark, wide, narrow and paper."""

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #16191d; --soft: #5b6470; --rule: #e1e5ea;
  --good: #14713d; --good-back: #dcf3e5; --new: #1b4fa8; --new-back: #e1ebfc; --odd: #545b64; --odd-back: #e9ecef;
  --bar: #3b76d6; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1216; --card: #181c22; --ink: #e8ebef; --soft: #98a2af;
  --rule: #2a3038; --good: #7fdca5; --good-back: #12351f; --new: #9cc0ff; --new-back: #152b52; --odd: #b4bcc6;
  --odd-back: #2a3038; --bar: #5c93ee; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: break-word; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 19px; margin: 36px 0 10px; letter-spacing: -.005em; }
h3 { font-size: 15px; margin: 20px 0 10px; color: var(--soft); font-weight: 600; }
p { margin: 0 0 10px; } .soft, .note { color: var(--soft); } .note { font-size: 13.5px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(118px, 1fr)); gap: 10px; margin: 20px 0 0; }
.figures div { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 11px 14px 10px; }
.figures b { display: block; font-size: 25px; line-height: 1.2; font-weight: 650; letter-spacing: -.02em; }
.figures span { color: var(--soft); font-size: 13px; }
.figures .main { border-color: var(--bar); }
.panel { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 12px 16px; }
.timeline { display: block; overflow: visible; }
.timeline text { font: 12px system-ui, sans-serif; } .timeline .lane { fill: var(--ink); font-weight: 600; }
.timeline .time { fill: var(--soft); font-size: 11px; }
.timeline .id { font-size: 10.5px; font-weight: 600; text-anchor: middle; pointer-events: none; }
@media (max-width: 900px) { .timeline .roomy { display: none; } }
.timeline .rule { stroke: var(--rule); } .timeline .tick { stroke: var(--rule); stroke-dasharray: 2 4; }
.timeline .thread { stroke-width: 1.5; opacity: .55; } .timeline .dim { opacity: .45; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 520px), 1fr)); gap: 12px; }
.cards.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); }
.card { background: var(--card); border: 1px solid var(--rule); border-left: 5px solid var(--c); border-radius: 10px;
  padding: 11px 14px 13px; min-width: 0; scroll-margin: 12px; break-inside: avoid; }
.card:target { outline: 3px solid var(--c); outline-offset: 1px; }
.card header { display: flex; flex-wrap: wrap; gap: 3px 9px; align-items: baseline; margin-bottom: 9px; }
.card header b { font-size: 17px; } .card header span:last-child { color: var(--soft); font-size: 13.5px; }
.badge { font-size: 12px; font-weight: 600; padding: 1px 8px; border-radius: 99px; white-space: nowrap; }
.known { color: var(--good); background: var(--good-back); } .new { color: var(--new); background: var(--new-back); }
.unknown { color: var(--odd); background: var(--odd-back); }
.views { display: flex; flex-wrap: wrap; gap: 12px 14px; }
.views figure { flex: var(--n, 1) 1 140px; } figure { margin: 0; min-width: 0; }
figcaption { font-size: 13px; line-height: 1.35; margin-bottom: 6px; }
figcaption span { display: block; color: var(--soft); font-size: 12.5px; }
.shots { display: flex; flex-wrap: wrap; gap: 5px; }
.shots img { display: block; max-height: 96px; max-width: 100%; border-radius: 5px; }
.shots img + img { max-height: 45px; max-width: 88px; border-radius: 3px; }
figcaption small { color: var(--soft); margin-left: 5px; }
.none { display: grid; place-items: center; width: 92px; height: 92px; border-radius: 5px; background: var(--odd-back);
  color: var(--soft); font-size: 12px; }
.strangers { display: flex; flex-wrap: wrap; gap: 12px; } .strangers img { max-height: 74px; }
.strangers figcaption { margin: 5px 0 0; }
.scroll { overflow-x: auto; padding: 4px 0; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: right; padding: 6px 16px; border-top: 1px solid var(--rule); white-space: nowrap; }
tr:first-child > * { border-top: 0; } th:first-child, td:first-child { text-align: left; }
thead th { white-space: normal; vertical-align: bottom; color: var(--soft); font-weight: 500; font-size: 13px; }
tbody th { font-weight: 500; }
th.wide, td.wide { width: 36%; min-width: 120px; text-align: left; }
.meter { position: relative; display: block; height: 9px; border-radius: 3px; }
.meter i { position: absolute; inset: 0 auto 0 0; border-radius: 3px; background: var(--bar); opacity: .28; }
.meter i:last-child { opacity: 1; }
.pairs td { text-align: left; white-space: normal; } .pairs th { width: 1%; text-align: left; color: var(--soft); }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
footer { margin-top: 36px; color: var(--soft); font-size: 13px; }
@media (max-width: 560px) { main { padding: 18px 12px 36px; } h1 { font-size: 22px; }
  .figures { grid-template-columns: repeat(auto-fit, minmax(92px, 1fr)); gap: 8px; } .figures b { font-size: 21px; }
  .figures div { padding: 9px 11px 8px; } table { font-size: 14px; }
  th, td { padding: 6px 7px; } .card { padding: 9px 11px 11px; }
  .panel { padding: 10px 12px; } .views { gap: 10px; } .views figure { flex-basis: 96px; } }
@media print { body { background: #fff; } .card, .panel, .figures div { break-inside: avoid; } }
"""


def head(title: str, pictures: bool = True) -> str:
    """A page up to its <main>; `title` is HTML. Nothing may be fetched and nothing may run, even if a name on the page tried
    to; only `pictures` that lie in it may be shown."""
    policy = f"default-src 'none';{' img-src data:;' if pictures else ''} style-src 'unsafe-inline'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title} - vreid</title>
<style>{STYLE}</style>
</head>
<body>
<main>
"""
