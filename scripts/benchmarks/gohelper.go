// The smallest health check in Go: GET /health on a port of this machine, exit code 0 for a 200.
package main

import (
	"flag"
	"net/http"
	"os"
)

func healthy(port string) bool {
	response, err := http.Get("http://127.0.0.1:" + port + "/health")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func main() {
	port := flag.String("port", "80", "port of the service")
	flag.Parse()
	if !healthy(*port) {
		os.Exit(1)
	}
}
