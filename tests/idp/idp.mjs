// The corporate identity provider of the tests: oidc-provider with its own development pages, where any password does.
//
// Its one argument is JSON: `port`, `clients` (as registered, RFC 7591), `accounts` (claims by login; `sub` is what
// tokens say, the login where it is absent). Each start makes new keys.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import Provider from 'oidc-provider';

const { port, clients, accounts } = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' };

const provider = new Provider(issuer, {
  clients,
  jwks: { keys: [key] },
  cookies: { keys: [randomUUID()] },
  claims: {
    openid: ['sub'],
    profile: ['name', 'preferred_username', 'groups'],
    email: ['email', 'email_verified'],
  },
  features: {
    backchannelLogout: { enabled: true },
  },
  // Everybody is on loopback here, where it would not send a logout token.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  async findAccount(_ctx, login) {
    return { accountId: login, claims: async () => ({ sub: login, ...accounts[login] }) };
  },
});

provider.on('backchannel.error', (_ctx, error) => console.log('back-channel logout failed:', error.message));
provider.on('server_error', (_ctx, error) => console.log(error));
provider.listen(port, '127.0.0.1', () => console.log('ready'));
