// The peer in Go: signs a token for each call with golang-jwt and a given grant.
//
// Its input is JSON on standard input; it prints its address as a line of JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	api "grantmint/v1"
)

const ttl = time.Minute

// given is the account and the grant that all tokens carry.
type given struct {
	AccountSid   string          `json:"account_sid"`
	APIKeySid    string          `json:"api_key_sid"`
	APIKeySecret string          `json:"api_key_secret"`
	Grant        json.RawMessage `json:"grant"`
}

// claims are those of an Access Token.
type claims struct {
	jwt.RegisteredClaims
	Grants grants `json:"grants"`
}

type grants struct {
	Identity string          `json:"identity"`
	Player   json.RawMessage `json:"player"`
}

// minting implements MintToken.
type minting struct {
	api.UnimplementedTokenServiceServer
	given
	key    []byte
	serial atomic.Int64
}

func (m *minting) MintToken(_ context.Context, request *api.MintTokenRequest) (*api.MintTokenResponse, error) {
	issue := time.Now().Truncate(time.Second)
	expire := issue.Add(ttl)
	id := fmt.Sprintf("%s-%d-%d", m.APIKeySid, issue.Unix(), m.serial.Add(1))
	unsigned := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			ID:        id,
			Issuer:    m.APIKeySid,
			Subject:   m.AccountSid,
			IssuedAt:  jwt.NewNumericDate(issue),
			ExpiresAt: jwt.NewNumericDate(expire),
		},
		Grants: grants{Identity: request.Identity, Player: m.Grant},
	})
	unsigned.Header["cty"] = "twilio-fpa;v=1"
	token, err := unsigned.SignedString(m.key)
	if err != nil {
		return nil, status.Error(codes.Internal, "cannot sign")
	}
	return &api.MintTokenResponse{Token: token, TokenId: id, Validity: &api.Validity{
		IssueTime:  timestamppb.New(issue),
		ExpireTime: timestamppb.New(expire),
	}}, nil
}

func main() {
	var given given
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	api.RegisterTokenServiceServer(server, &minting{given: given, key: []byte(given.APIKeySecret)})
	fmt.Printf("{\"server\": \"http://%s\"}\n", listener.Addr())
	log.Fatal(server.Serve(listener))
}
