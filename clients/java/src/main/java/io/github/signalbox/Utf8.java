package io.github.signalbox;

/** How long strings are on the wire. */
final class Utf8 {
    private Utf8() {}

    /**
     * The length of a string as UTF-8.
     *
     * @throws IllegalArgumentException if it can't be: protobuf would send something else instead
     */
    static int length(String what, String text) {
        int bytes = 0;
        for (int at = 0; at < text.length(); at++) {
            char one = text.charAt(at);
            if (one < 0x80) {
                bytes += 1;
            } else if (one < 0x800) {
                bytes += 2;
            } else if (!Character.isSurrogate(one)) {
                bytes += 3;
            } else if (at + 1 < text.length() && Character.isSurrogatePair(one, text.charAt(at + 1))) {
                bytes += 4;
                at += 1;
            } else {
                throw new IllegalArgumentException(
                        "the %s has half of a surrogate pair at %d, which is no character".formatted(what, at));
            }
        }
        return bytes;
    }
}
