/* SPDX-License-Identifier: MIT
 * The main() of a fuzz target without a fuzzer: runs each file of the folders given. */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "test.h"

static void replay(const char *path)
{
    struct stat st;
    REQUIRE(stat(path, &st) == 0 && S_ISREG(st.st_mode));
    printf("%s\n", path);
    fflush(stdout); // the last line names the file of a crash
    FILE *f = fopen(path, "rb");
    REQUIRE(f);
    size_t size = (size_t)st.st_size;
    uint8_t *data = malloc(size ? size : 1); // of just this size, so that a sanitizer sees a read beyond it
    REQUIRE(data && fread(data, 1, size, f) == size);
    fclose(f);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

static int replay_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    REQUIRE(dir);
    int n = 0;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        char path[2048];
        if (entry->d_name[0] == '.')
            continue;
        REQUIRE(snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) < (int)sizeof(path));
        replay(path);
        n++;
    }
    closedir(dir);
    return n;
}

int main(int argc, char **argv)
{
    REQUIRE(argc > 1);
    for (int i = 1; i < argc; i++)
        REQUIRE_INT(replay_folder(argv[i]), >, 0);
    return 0;
}
