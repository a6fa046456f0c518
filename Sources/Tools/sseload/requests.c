#include "requests.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Makes a request from a line. Overwrites the tabs of the line.
static struct request request_make(char *line, int port) {
    struct request request;
    FILE *text = open_memstream(&request.bytes, &request.length);
    if (text == NULL) err(EXIT_FAILURE, "open_memstream");
    char *rest = line;
    fprintf(text, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n", strsep(&rest, "\t"), port);
    for (char *header; (header = strsep(&rest, "\t")) != NULL;) fprintf(text, "%s\r\n", header);
    fputs("\r\n", text);
    if (fclose(text) != 0) err(EXIT_FAILURE, "making a request");
    return request;
}

struct requests requests_read(const char *path, int port) {
    FILE *file = fopen(path, "r");
    if (file == NULL) err(EXIT_FAILURE, "%s", path);
    struct requests requests = {NULL, 0};
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, file) >= 0) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] == '\0') continue;
        requests.all = reallocarray(requests.all, requests.count + 1, sizeof *requests.all);
        if (requests.all == NULL) err(EXIT_FAILURE, "%s", path);
        requests.all[requests.count++] = request_make(line, port);
    }
    if (ferror(file)) err(EXIT_FAILURE, "%s", path);
    free(line);
    fclose(file);
    if (requests.count == 0) errx(EXIT_FAILURE, "%s: names no target", path);
    return requests;
}
