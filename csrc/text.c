/* Numbers in the text of a table. They are rounded as the language's own conversion does, to the nearest double, ties to
 * even: by exact arithmetic in 128 bits, which serves up to 19 digits and powers of ten from -27 to 27. All others are
 * left to the caller.
 */
#include <math.h>
#include <string.h>

#include "fastreg.h"

typedef unsigned __int128 wide;

enum { MOST_DIGITS = 19, MOST_POWER = 27, EXACT_POWER = 22 };

static const double ten_to[EXACT_POWER + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static uint64_t five_to(int power) {
    uint64_t result = 1;
    while (power-- > 0) result *= 5;
    return result;
}

/* (top + something below 1 if sticky) * 2^power, rounded. The highest bit of top is set. */
static double rounded(uint64_t top, int sticky, int power) {
    uint64_t kept = top >> 11;
    const uint64_t rest = top & 0x7ff;
    if (rest > 0x400 || (rest == 0x400 && (sticky || (kept & 1)))) kept++; /* up to 2^53, which is exact too */
    const uint64_t bits = (uint64_t)(power + 11 + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return (double)kept * scale;
}

/* digits * 10^power for 0 < digits < 10^19 and powers from -27 to 27. */
static double scaled(uint64_t digits, int power) {
    if (digits <= (uint64_t)1 << 53 && power >= -EXACT_POWER && power <= EXACT_POWER) {
        return power < 0 ? (double)digits / ten_to[-power] : (double)digits * ten_to[power]; /* exact operands */
    }
    const int shift = __builtin_clzll(digits);
    digits <<= shift;
    if (power < 0) {
        uint64_t divisor = five_to(-power);
        const int room = __builtin_clzll(divisor);
        divisor <<= room;
        const wide dividend = (wide)digits << 63;
        const uint64_t quotient = (uint64_t)(dividend / divisor);
        const int sticky = dividend % divisor != 0;
        const int low = __builtin_clzll(quotient); /* 0 or 1. What a 1 shifts in counts as below: it is sticky */
        return rounded(quotient << low, sticky, power - shift - 63 + room - low);
    }
    wide product = (wide)digits * five_to(power);
    int exponent = power - shift;
    const uint64_t high = (uint64_t)(product >> 64);
    if (!high) return rounded((uint64_t)product, 0, exponent);
    const int room = __builtin_clzll(high);
    product <<= room;
    return rounded((uint64_t)(product >> 64), (uint64_t)product != 0, exponent + 64 - room);
}

static int is_blank(char c) { return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r'; }

static int is_digit(char c) { return c >= '0' && c <= '9'; }

typedef enum { NUMBER, HARD, NO_NUMBER } meaning;

/* What the field from `at` on holds, which ends before `stop`. Adds to `seen` how a number is written. */
static meaning number_of(const char *at, const char *stop, char decimal, double *value, uint8_t *seen) {
    uint64_t digits = 0;
    int count = 0, power = 0, any = 0, is_hard = 0;
    uint8_t how = 0;
    const int negative = at < stop && *at == '-';
    if (at < stop && (*at == '-' || *at == '+')) at++;
    for (; at < stop && is_digit(*at); at++) {
        any = 1;
        if (count == MOST_DIGITS) {
            is_hard = 1;
        } else {
            digits = 10 * digits + (uint64_t)(*at - '0');
            count += count || digits;
        }
    }
    if (at < stop && *at == decimal) {
        how = FR_SEEN_POINT;
        for (at++; at < stop && is_digit(*at); at++) {
            any = 1;
            if (count == MOST_DIGITS) {
                is_hard = 1;
            } else {
                digits = 10 * digits + (uint64_t)(*at - '0');
                count += count || digits;
                power--;
            }
        }
    }
    if (!any) return NO_NUMBER;
    if (at < stop && (*at == 'e' || *at == 'E')) {
        how = FR_SEEN_POINT;
        at++;
        const int down = at < stop && *at == '-';
        if (at < stop && (*at == '-' || *at == '+')) at++;
        if (at == stop || !is_digit(*at)) return NO_NUMBER;
        int exponent = 0;
        for (; at < stop && is_digit(*at); at++) {
            if (exponent < 100000) exponent = 10 * exponent + (*at - '0');
        }
        power += down ? -exponent : exponent;
    }
    if (at != stop) return NO_NUMBER;
    *seen |= how;
    if (is_hard || (digits && (power < -MOST_POWER || power > MOST_POWER))) return HARD;
    const double size = digits ? scaled(digits, power) : 0;
    *value = negative ? -size : size;
    if (size >= 0x1p53) *seen |= FR_SEEN_LARGE;
    return NUMBER;
}

static int is_missing(const fr_fields *f, const char *at, int64_t size) {
    const char *field = f->missing, *const end = field + f->missing_size;
    if (!size || size > f->longest) return !size;
    while (field < end) {
        const char *stop = memchr(field, '\n', (size_t)(end - field));
        if (stop - field == size && !memcmp(field, at, (size_t)size)) return 1;
        field = stop + 1;
    }
    return 0;
}

int64_t fr_read_fields(fr_fields *f) {
    const char *at = f->text, *const end = f->text + f->size;
    int64_t row = 0;
    f->hards = 0;
    for (int64_t line = 0; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const char *p = at;
        while (p < stop && is_blank(*p)) p++;
        if (p == stop) {
            at = stop + 1;
            continue;
        }
        p = at;
        int64_t column = 0;
        for (;; column++) {
            const char *last = p;
            while (last < stop && *last != f->delimiter) last++;
            if (column < f->width) {
                const char *from = p, *to = last;
                while (from < to && is_blank(*from)) from++;
                while (to > from && is_blank(to[-1])) to--;
                double value = NAN;
                const meaning is = number_of(from, to, f->decimal, &value, &f->seen[column]);
                if (is == HARD) {
                    int64_t *hard = f->hard + 4 * f->hards++;
                    hard[0] = column, hard[1] = row, hard[2] = from - f->text, hard[3] = to - f->text;
                } else if (is == NO_NUMBER) {
                    f->seen[column] |= is_missing(f, from, to - from) ? FR_SEEN_HOLE : FR_SEEN_TEXT;
                }
                f->out[column * f->rows + row] = value;
            }
            if (last == stop) break;
            p = last + 1;
        }
        if (++column != f->width) {
            f->found = column;
            return -1 - line;
        }
        f->lines[row++] = line;
        at = stop + 1;
    }
    return row;
}
