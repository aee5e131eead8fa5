/* The dashboard's page as bytes of the program, which so works alone. */
#include "dashboard.h"
#pragma clang diagnostic ignored "-Wc23-extensions"

#define FILE_BYTES(symbol) static const unsigned char symbol[]
FILE_BYTES(index_html) = {
#embed "files/index.html"
};
FILE_BYTES(app_css) = {
#embed "files/app.css"
};
FILE_BYTES(app_js) = {
#embed "files/app.js"
};
FILE_BYTES(pages_js) = {
#embed "files/pages.js"
};
FILE_BYTES(charts_js) = {
#embed "files/charts.js"
};
FILE_BYTES(icon_svg) = {
#embed "files/icon.svg"
};

static const reeve_page_file files[] = {
    {"/", "text/html; charset=utf-8", index_html, sizeof index_html},
    {"/app.css", "text/css; charset=utf-8", app_css, sizeof app_css},
    {"/app.js", "text/javascript; charset=utf-8", app_js, sizeof app_js},
    {"/pages.js", "text/javascript; charset=utf-8", pages_js, sizeof pages_js},
    {"/charts.js", "text/javascript; charset=utf-8", charts_js, sizeof charts_js},
    {"/icon.svg", "image/svg+xml", icon_svg, sizeof icon_svg},
};

const int reeve_page_file_count = sizeof files / sizeof files[0];

const reeve_page_file *reeve_page_file_at(int index) { return &files[index]; }
