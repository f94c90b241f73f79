package manifest

// MergePatch is for tests.
func MergePatch(object, patch string) (string, error) {
	out, err := mergePatch([]byte(object), []byte(patch))
	return string(out), err
}
