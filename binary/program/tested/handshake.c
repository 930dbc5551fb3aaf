/*
 * A program of the tests: a TLS client with guard.c, without Python. Reads what the server sends from standard input,
 * prints whether OpenSSL was out of memory, and the peak of the process in KiB. With an argument, a signal is pending.
 */
#include <Python.h>

#include <internal/pycore_runtime.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

_PyRuntimeState _PyRuntime;

int main(int argc, char **argv)
{
    static char flight[1 << 17];
    size_t size = fread(flight, 1, sizeof flight, stdin);
    SSL *session = SSL_new(SSL_CTX_new(TLS_client_method()));
    BIO *received = BIO_new(BIO_s_mem());
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long error;
    int is_out = 0;

    (void)argv;
    SSL_set_bio(session, received, BIO_new(BIO_s_mem()));
    SSL_set_connect_state(session);
    BIO_write(received, flight, (int)size);
    _PyRuntime.signals.is_tripped = argc > 1;
    SSL_do_handshake(session);
    while ((error = ERR_get_error()) != 0)
        is_out |= ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE;
    while (fgets(line, sizeof line, status) != NULL && strncmp(line, "VmHWM:", 6) != 0)
        ;
    printf("%d %d\n", is_out, atoi(line + 6));
    return 0;
}
