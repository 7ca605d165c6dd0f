/* Which vehicle is this? find_c MANIFEST GALLERY PICTURE... looks pictures up in a gallery. */
#include <stdio.h>
#include <stdlib.h>
#include <vreid/vreid.h>

int main(int count, char** words) {
    vreid_embedder* model = NULL;
    vreid_gallery* gallery = NULL;
    float* feature = NULL;
    int at, done = count >= 4 && vreid_abi_version() == VREID_ABI_VERSION &&
                   vreid_embedder_open(words[1], 1, NULL, &model) == VREID_OK &&
                   vreid_gallery_open(words[2], model, 0, &gallery) == VREID_OK;
    if (done) feature = malloc(sizeof(float) * (size_t)vreid_embedder_dim(model));
    for (at = 3; done && at < count; ++at) {
        vreid_hit hit;
        uint32_t found = 0;
        char name[804] = "nobody to compare";
        done = feature != NULL && vreid_embedder_embed_file(model, words[at], feature) == VREID_OK &&
               vreid_gallery_search(gallery, feature, 1, vreid_embedder_dim(model), 1, &hit, &found) ==
                   VREID_OK &&
               (found == 0 || vreid_gallery_name(gallery, hit.vehicle, name, sizeof name, NULL) == VREID_OK);
        if (done) printf("%s: %s (%.3f)\n", words[at], name, found ? (double)hit.score : 0.0);
    }
    if (!done) fprintf(stderr, "%s\n", count < 4 ? "find_c MANIFEST GALLERY PICTURE..." : vreid_last_error());
    free(feature);
    vreid_gallery_close(gallery);
    vreid_embedder_close(model);
    return done ? 0 : 2;
}
