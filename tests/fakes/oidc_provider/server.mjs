// node-oidc-provider, a certified OpenID provider, on loopback; with an API behind it that takes its access tokens.
// Reads its clients as JSON from standard input, says "ready PORT", and ends with its standard input.

import http from 'node:http';
import { createInterface } from 'node:readline';
import { Provider } from 'oidc-provider';

const lines = createInterface({ input: process.stdin });
const { clients, lifetime } = JSON.parse((await lines[Symbol.asyncIterator]().next()).value);

const server = http.createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const counts = { grants: {}, errors: {}, revoked: 0 };

const provider = new Provider(issuer, {
  clients,
  cookies: { keys: ['only for tests'] },
  scopes: ['openid', 'offline_access', 'api'],
  rotateRefreshToken: true,
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    devInteractions: { enabled: true },
  },
  ttl: {
    AccessToken: lifetime, ClientCredentials: lifetime, RefreshToken: 3600, Grant: 3600, Interaction: 600, Session: 600,
    IdToken: 600, DeviceCode: 120, AuthorizationCode: 60,
  },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});

provider.on('grant.success', (ctx) => {
  const type = ctx.oidc.params.grant_type;
  counts.grants[type] = (counts.grants[type] ?? 0) + 1;
});
provider.on('grant.error', (ctx, error) => {
  counts.errors[error.message] = (counts.errors[error.message] ?? 0) + 1;
});
provider.on('grant.revoked', () => { counts.revoked += 1; });

async function api(request, response) {
  const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
  const known = token && (await provider.AccessToken.find(token) ?? await provider.ClientCredentials.find(token));
  response.setHeader('Content-Type', 'application/json');
  if (!known) {
    response.writeHead(401, { 'WWW-Authenticate': 'Bearer error="invalid_token"' }).end('{"message":"no"}');
  } else {
    response.end(JSON.stringify({ client: known.clientId, account: known.accountId ?? null }));
  }
}

const handle = provider.callback();
server.on('request', (request, response) => {
  if (request.url.startsWith('/api/')) {
    api(request, response);
  } else if (request.url === '/counts') {
    response.end(JSON.stringify(counts));
  } else {
    handle(request, response);
  }
});

console.log(`ready ${server.address().port}`);
lines.on('close', () => process.exit(0));
