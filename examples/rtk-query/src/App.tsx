import { useDispatch, useSelector } from "react-redux";
import { proxy, useGetOrdersQuery } from "./api";
import { loggedIn } from "./session";
import type { State } from "./store";

const SHOPS = Array.from({ length: 10 }, (_, index) => index + 1);

export function App() {
  const { loggedIn: inside, logouts } = useSelector((state: State) => state.session);
  return inside ? <Shops /> : <Login logouts={logouts} />;
}

function Shops() {
  return (
    <main>
      <h1>Ten shops, asked every second</h1>
      <ul>
        {SHOPS.map((shop) => (
          <Shop key={shop} shop={shop} />
        ))}
      </ul>
    </main>
  );
}

function Shop({ shop }: { shop: number }) {
  const { data, error, isLoading } = useGetOrdersQuery(shop, { pollingInterval: 1000 });
  return (
    <li>
      Shop {shop}: {isLoading ? "…" : error ? <b className="failed">failed</b> : <code>{JSON.stringify(data)}</code>}
    </li>
  );
}

// In the demo, logging in is a call that gives the proxy a new refresh token. In earnest it is a link to
// `${proxy}/_reauth/login`, or a form whose answer the proxy captures.
function Login({ logouts }: { logouts: number }) {
  const dispatch = useDispatch();
  const login = async () => {
    await fetch("http://localhost:8490/demo/restore", { method: "POST", mode: "no-cors" });
    dispatch(loggedIn());
  };
  return (
    <main id="login" data-logouts={logouts}>
      <h1>Logged out</h1>
      <p>
        The session at <code>{proxy}</code> has ended.
      </p>
      <button type="button" onClick={login}>
        Log in again
      </button>
    </main>
  );
}
