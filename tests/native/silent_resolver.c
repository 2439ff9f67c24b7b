/* A name server that can keep silent, put before libc's by LD_PRELOAD: while the file that SILENT_RESOLVER names has a name
 * in it, a question about that name has no answer, and leaves a file of the same name with ".asked" at its end. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int keeps_silent(const char *node) {
    const char *path = getenv("SILENT_RESOLVER");
    char name[256];
    int file = path && node ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t size = file < 0 ? 0 : read(file, name, sizeof(name) - 1);
    if (file >= 0)
        close(file);
    if (size <= 0)
        return 0;
    name[size] = 0;
    if (strcmp(name, node))
        return 0;
    snprintf(name, sizeof(name), "%s.asked", path);
    file = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file >= 0)
        close(file);
    return 1;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
    int silent = 0;
    while (keeps_silent(node)) {
        silent = 1;
        usleep(10000);
    }
    return silent ? EAI_AGAIN : real(node, service, hints, res);
}
