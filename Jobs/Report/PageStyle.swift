/// The style sheet of a page, with a brand's colours.
struct PageStyle {
    let branding: Branding
    let columnCount: Int

    var text: String {
        let accent = branding.accent
        let isCompact = branding.layout == .compact
        return """
            :root{--primary:\(branding.primary);--on-primary:\(branding.primary.textOnTop);--accent:\(accent);\
            --tint:\(branding.primary.tint(0.07));--line:#d5dae1;--ink:#1b2430;--soft:#525e6e}
            *{box-sizing:border-box}
            html{-webkit-text-size-adjust:100%;background:#fff;color:var(--ink);\
            font:\(isCompact ? "14px" : "15px")/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Noto Sans",sans-serif}
            body{margin:0;border-top:6px solid var(--primary)}
            .sheet{max-width:1120px;margin:0 auto;padding:\(isCompact ? "16px" : "28px") 28px 40px}
            .brand{display:flex;align-items:center;gap:16px;margin-bottom:\(isCompact ? "14px" : "26px");min-height:40px}
            .brand img{max-height:56px;max-width:240px;display:block}
            .brand p{margin:0;font-weight:600;color:var(--soft)}
            h1{font-size:1.85rem;line-height:1.2;margin:0 0 6px;color:var(--accent);letter-spacing:-.01em;text-wrap:balance}
            .summary{margin:0 0 14px;color:var(--soft);max-width:70ch}
            .intro{margin:0 0 16px;max-width:75ch;white-space:pre-line}
            .facts{display:flex;flex-wrap:wrap;gap:4px 28px;margin:0 0 22px;padding:10px 0;border-top:1px solid var(--line);\
            border-bottom:1px solid var(--line);font-size:.9rem}
            .facts div{display:flex;gap:8px;min-width:0}
            .facts dt{color:var(--soft)} .facts dd{margin:0;font-weight:600;overflow-wrap:anywhere}
            .figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:0 0 26px;padding:0}
            .figures div{background:var(--tint);border-radius:8px;padding:12px 14px;min-width:0}
            .figures dt{font-size:.82rem;color:var(--soft)}
            .figures dd{margin:2px 0 0;font-size:1.3rem;font-weight:650;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
            .unit{font-weight:400;color:var(--soft);font-size:.85em}
            .chart{margin:0 0 28px;padding:0}
            .chart figcaption{font-weight:650;margin-bottom:8px}
            .chart svg.wide{display:block;width:100%;height:auto} .chart svg.narrow{display:none;width:100%;height:auto}
            .chart svg text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--soft)}
            .chart svg text.value{fill:var(--ink)}
            .grid{stroke:#e3e7ec;stroke-width:1} .zero{stroke:#7b8794;stroke-width:1}
            .legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 8px;padding:0;font-size:.88rem}
            .legend li{display:flex;align-items:center;gap:6px}
            .table{overflow-x:auto;margin:0 0 10px;-webkit-overflow-scrolling:touch}
            .table:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
            table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
            caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
            th,td{padding:\(isCompact ? "4px 8px" : "7px 10px");text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
            thead th.n,thead th.d{white-space:normal} thead th{background:var(--primary);color:var(--on-primary);font-weight:600;border-bottom:0;vertical-align:bottom}
            thead th .unit{color:inherit;opacity:.92}
            tbody th{font-weight:500}
            tbody tr:nth-child(even){background:#f7f8fa}
            .n{text-align:right;white-space:nowrap} .t{overflow-wrap:break-word;max-width:38ch} .d{white-space:nowrap}
            .neg{color:#a61b1b} .null{color:#6b7685}
            tfoot td,tfoot th{font-weight:700;border-top:2px solid var(--accent);border-bottom:0;background:#fff}
            tfoot .kind{display:block;font-weight:400;font-size:.78rem;color:var(--soft)}
            .note,.empty{color:var(--soft)} .empty{padding:28px 0;font-size:1.05rem}
            footer{margin-top:26px;padding-top:12px;border-top:1px solid var(--line);font-size:.82rem;color:var(--soft);\
            display:flex;flex-wrap:wrap;gap:4px 24px;justify-content:space-between}
            footer p{margin:0;white-space:pre-line}
            @media (max-width:640px){.sheet{padding:16px 14px 28px} h1{font-size:1.45rem}
            .facts{flex-direction:column} .figures{grid-template-columns:1fr 1fr} .figures dd{font-size:1.08rem}
            .brand img{max-height:44px;max-width:180px}
            .chart svg.wide{display:none} .chart svg.narrow{display:block}
            .table{margin-left:-14px;margin-right:-14px;padding:0 14px}
            tbody th,thead th:first-child,tfoot th{position:sticky;left:-14px;max-width:44vw}
            tbody th,tfoot th{background:#fff} tbody tr:nth-child(even) th{background:#f7f8fa}
            th,td{padding:6px 8px} .t{max-width:44vw} td.t:not(.d){min-width:9.5em} thead th{min-width:5em}}
            @page{size:A4 \(columnCount > 9 ? "landscape" : "portrait");margin:14mm 12mm 16mm;\
            @bottom-right{content:counter(page) " / " counter(pages);font:8pt system-ui,sans-serif;color:#525e6e}}
            @media print{td.t:not(.d){min-width:0} thead th{min-width:0} *{-webkit-print-color-adjust:exact;print-color-adjust:exact} html{font-size:9.5pt}
            body{border-top:0} .sheet{max-width:none;padding:0} .table{overflow:visible;margin:0;padding:0}
            thead{display:table-header-group;break-after:avoid} tbody tr:first-child,tbody tr:nth-child(2){break-before:avoid} tfoot{display:table-row-group} tr,.chart,.figures div,.facts{break-inside:avoid}
            .chart svg.wide{display:block;max-height:150mm} .chart svg.narrow{display:none} h1,figcaption{break-after:avoid}
            .figures{grid-template-columns:repeat(auto-fit,minmax(27mm,1fr));gap:3mm} .figures div{padding:2.5mm 3mm} .figures dd{font-size:1rem} tbody th,thead th:first-child,tfoot th{position:static;max-width:none}
            th,td{padding:3.5pt 5pt}}
            """
    }
}
