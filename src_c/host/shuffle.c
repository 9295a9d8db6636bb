/* What is drawn for an epoch or a step: functions of the seed and its number, whichever thread asks for them. */

#include <math.h>

#include "host/host.h"

enum { FNN_WORDS = 4 }; /* words of a block of Philox */

__extension__ typedef unsigned __int128 uint128;

/* Philox4x64-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3, SC 2011). */
static void philox_block(uint64_t counter, uint64_t key0, uint64_t key1, uint64_t words[FNN_WORDS]) {
    uint64_t c0 = counter, c1 = 0, c2 = 0, c3 = 0;
    for (int round = 0; round < 10; round++) {
        const uint128 p0 = (uint128)c0 * 0xD2E7470EE14C6C93u;
        const uint128 p1 = (uint128)c2 * 0xCA5A826395121157u;
        c0 = (uint64_t)(p1 >> 64) ^ c1 ^ key0;
        c2 = (uint64_t)(p0 >> 64) ^ c3 ^ key1;
        c1 = (uint64_t)p1;
        c3 = (uint64_t)p0;
        key0 += 0x9E3779B97F4A7C15u;
        key1 += 0xBB67AE8584CAA73Bu;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

/* A number between 0 and 1, neither of them. */
static double uniform(uint64_t word) {
    return ((double)(word >> 11) + 0.5) * 0x1p-53;
}

/* The logarithm of a number of the distribution Gamma(alpha), which may be too small for a double (Marsaglia and Tsang, A simple
 * method for generating gamma variables, 2000): that of Gamma(alpha + 1) times a uniform number to the power 1 / alpha. Trial n
 * has block 2 n + which of the words of (seed, step). */
static double log_gamma_variate(uint64_t seed, uint64_t step, uint64_t which, double alpha) {
    const double d = alpha + 1 - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (uint64_t counter = which;; counter += 2) {
        uint64_t words[FNN_WORDS];
        philox_block(counter, seed, step, words);
        const double normal = sqrt(-2 * log(uniform(words[0]))) * cos(6.283185307179586 * uniform(words[1]));
        const double root = 1 + c * normal, v = root * root * root;
        if (root > 0 && log(uniform(words[2])) < 0.5 * normal * normal + d * (1 - v + log(v))) {
            return log(d * v) + log(uniform(words[3])) / alpha;
        }
    }
}

/* a / (a + b) of two gamma variates. */
double fnn_beta(uint64_t seed, uint64_t step, double alpha) {
    const double a = log_gamma_variate(seed, step, 1, alpha), b = log_gamma_variate(seed, step, 2, alpha);
    return 1 / (1 + exp(b - a));
}

/* Fisher and Yates's shuffle, from the last place down to the second: the row at place i changes places with the one at
 * floor(word (i + 1) / 2^64). This favours no place by more than rows / 2^64, so no word is thrown away, and no branch
 * depends on a word. */
void fnn_epoch_order(uint64_t seed, uint64_t epoch, size_t rows, int64_t *order) {
    for (size_t i = 0; i < rows; i++) {
        order[i] = (int64_t)i;
    }
    uint64_t words[FNN_WORDS], counter = 0;
    for (size_t i = rows; i > 1;) {
        philox_block(++counter, seed, epoch, words);
        for (int k = 0; k < FNN_WORDS && i > 1; k++) {
            const size_t j = (size_t)(((uint128)words[k] * i) >> 64);
            const int64_t last = order[--i];
            order[i] = order[j];
            order[j] = last;
        }
    }
}
