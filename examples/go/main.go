// Mints a token, then many, prints the details of an invalid request, and sets token parameters.
//
// Requires Debian's golang-go golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev
// protoc-gen-go protoc-gen-go-grpc, and protoc 22.0 or later, such as that of the Python package
// grpcio-tools:
//
//	package=Mgrantmint/v1/token_service.proto=grantmint/v1
//	python -m grpc_tools.protoc -I ../../proto --go_out=$HOME/go/src --go_opt=$package \
//	    --go-grpc_out=$HOME/go/src --go-grpc_opt=$package grantmint/v1/token_service.proto
//	export GO111MODULE=off GOPATH=$HOME/go:/usr/share/gocode
//	GRPC_GO_RETRY=on go run . 127.0.0.1:50051 1000 room-1
//
// The server may be a Unix socket, such as unix:///run/grantmint/api.sock. If GRANTMINT_CA,
// GRANTMINT_CERT and GRANTMINT_KEY name PEM files, it uses TLS with a client certificate. If
// GRANTMINT_TOKEN_FILE is set, it sends the bearer token in that file.
//
// Debian 12's grpc-go, 1.33, retries only with GRPC_GO_RETRY=on; newer versions always do.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	api "grantmint/v1"
)

// patience is how long a bulk may wait for its next token.
const patience = time.Minute

// connect creates the only connection of the process.
func connect(server string) (*grpc.ClientConn, error) {
	config, err := os.ReadFile("../service_config.json")
	if err != nil {
		return nil, err
	}
	transport, err := security(server)
	if err != nil {
		return nil, err
	}
	options := []grpc.DialOption{
		transport,
		grpc.WithDefaultServiceConfig(string(config)),
		// Without pings, only failing calls notice a silently lost connection.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:                30 * time.Second,
			Timeout:             10 * time.Second,
			PermitWithoutStream: true,
		}),
	}
	if isSocket(server) {
		// grpc-go before 1.34 sends the socket's path, which HTTP/2 does not allow.
		options = append(options, grpc.WithAuthority("localhost"))
	}
	if file := os.Getenv("GRANTMINT_TOKEN_FILE"); file != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer{file, isLocal(server)}))
	}
	return grpc.Dial(server, options...)
}

func isSocket(server string) bool {
	return strings.HasPrefix(server, "unix:")
}

// isLocal reports whether plain text stays on this machine.
func isLocal(server string) bool {
	host, _, _ := net.SplitHostPort(server)
	return isSocket(server) || host == "localhost" || net.ParseIP(host).IsLoopback()
}

// bearer sends the token in a file, which each call reads: it is replaced before it expires.
type bearer struct {
	file    string
	isLocal bool
}

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := os.ReadFile(b.file)
	header := "Bearer " + strings.TrimSpace(string(token))
	return map[string]string{"authorization": header}, err
}

// RequireTransportSecurity keeps the token from being sent to another machine without TLS.
func (b bearer) RequireTransportSecurity() bool {
	return !b.isLocal
}

// security is TLS with a client certificate if GRANTMINT_CA, GRANTMINT_CERT and GRANTMINT_KEY name
// PEM files; otherwise, and on a Unix socket, plain text.
func security(server string) (grpc.DialOption, error) {
	if os.Getenv("GRANTMINT_CA") == "" || isSocket(server) {
		return grpc.WithInsecure(), nil
	}
	ca, err := os.ReadFile(os.Getenv("GRANTMINT_CA"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("GRANTMINT_CA contains no certificate")
	}
	config := &tls.Config{RootCAs: roots}
	if cert := os.Getenv("GRANTMINT_CERT"); cert != "" {
		// Read for each connection, so that it may be replaced.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, os.Getenv("GRANTMINT_KEY"))
			return &pair, err
		}
	}
	return grpc.WithTransportCredentials(credentials.NewTLS(config)), nil
}

// mint gets a token; the service config makes the library retry transient failures.
func mint(tokens api.TokenServiceClient, identity string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	response, err := tokens.MintToken(ctx, &api.MintTokenRequest{Identity: identity})
	return response.GetToken(), err
}

// mintFor gets a token for a room, with parameters that the profile opens to calls.
func mintFor(tokens api.TokenServiceClient, identity, room string) (string, error) {
	options := &api.MintOptions{
		Profile:  "room",
		Resource: room,
		Params: &structpb.Struct{Fields: map[string]*structpb.Value{
			"name":        {Kind: &structpb.Value_StringValue{StringValue: "Alice"}},
			"can_publish": {Kind: &structpb.Value_BoolValue{BoolValue: false}},
		}},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	response, err := tokens.MintToken(ctx, &api.MintTokenRequest{Options: options, Identity: identity})
	return response.GetToken(), err
}

// mintMany mints tokens for prefix0, prefix1 and so on, with as many calls as needed.
func mintMany(tokens api.TokenServiceClient, prefix string, count int64, each func(int64, string)) error {
	request := &api.MintTokensRequest{Selection: &api.MintTokensRequest_IdentitySeries{
		IdentitySeries: &api.IdentitySeries{Prefix: prefix, Count: count},
	}}
	for progress := time.Now(); ; {
		next, err := mintFrom(tokens, request, each)
		if err == nil {
			return nil
		}
		if next > request.StartIndex {
			progress = time.Now()
		}
		if !endsEarly(err) || time.Since(progress) > patience {
			return err
		}
		log.Printf("resuming at %d after %s", next, explain(err))
		time.Sleep(retryDelay(err))
		request.StartIndex = next
	}
}

// mintFrom makes one call and returns the next index. It counts the tokens received, since an
// error's resume_index counts the tokens sent.
func mintFrom(tokens api.TokenServiceClient, request *api.MintTokensRequest, each func(int64, string)) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	next := request.StartIndex
	chunks, err := tokens.MintTokens(ctx, request)
	if err != nil {
		return next, err
	}
	for {
		chunk, err := chunks.Recv()
		if errors.Is(err, io.EOF) {
			return next, nil
		} else if err != nil {
			return next, err
		}
		for _, token := range chunk.Tokens {
			each(next, token)
			next++
		}
	}
}

func endsEarly(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// retryDelay is the delay that the server sets, or else a second.
func retryDelay(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return time.Second
}

// explain returns an error's reason, message, invalid fields and retry delay.
func explain(err error) string {
	failed := status.Convert(err)
	reason, lines := failed.Code().String(), []string{}
	for _, detail := range failed.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			reason = detail.GetReason()
		case *errdetails.BadRequest:
			for _, bad := range detail.GetFieldViolations() {
				lines = append(lines, bad.GetField()+": "+bad.GetDescription())
			}
		case *errdetails.RetryInfo:
			lines = append(lines, "retry in "+detail.GetRetryDelay().AsDuration().String())
		}
	}
	return strings.Join(append([]string{reason + ": " + failed.Message()}, lines...), "; ")
}

func main() {
	log.SetFlags(0)
	count, err := strconv.ParseInt(os.Args[2], 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	connection, err := connect(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	tokens := api.NewTokenServiceClient(connection)

	token, err := mint(tokens, "alice")
	if err != nil {
		log.Fatal(explain(err))
	}
	fmt.Println("alice", token)
	err = mintMany(tokens, "viewer-", count, func(index int64, token string) {
		fmt.Printf("viewer-%d %s\n", index, token)
	})
	if err != nil {
		log.Fatal(explain(err))
	}
	if _, err = mint(tokens, ""); err != nil {
		fmt.Println(explain(err))
	}
	if len(os.Args) > 3 {
		if token, err = mintFor(tokens, "alice", os.Args[3]); err != nil {
			log.Fatal(explain(err))
		}
		fmt.Println("alice", token)
	}
}
