/* What the bindings of TensorRT ask of libraries that exist on a GPU machine only. With it the real
 * plugin registry of the lean runtime can be used without a GPU; nothing can be built. Tests only. */
#include <stddef.h>

extern void *getPluginRegistry(void);

void *createInferBuilder_INTERNAL(void *logger, int version) {
    (void)logger, (void)version;
    return NULL;
}
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) {
    (void)network, (void)logger, (void)version;
    return NULL;
}
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) {
    (void)refitter, (void)logger, (void)version;
    return NULL;
}
int getNvOnnxParserVersion(void) { return 0; }
int initLibNvInferPlugins(void *logger, const char *space) {
    (void)logger, (void)space;
    return 0;
}
void *getBuilderPluginRegistry(int capability) {
    (void)capability;
    return getPluginRegistry();
}
