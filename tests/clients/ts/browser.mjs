// A person signs in and consents in headless Chromium, by keyboard alone and with JavaScript off.
//
// Told {"chromium", "profile", "start", "username", "password", "screenshots"}; tells {"landed", "pages": [{"title",
// "aria", "focus"}]}: where the browser ended up, and for each page its accessibility tree and the tab stops in order.

import { join } from "node:path";
import { chromium } from "playwright-core";
import { outcome } from "./lines.mjs";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The accessible name and role of what has the focus. */
async function focused(page) {
  const snapshot = await page.locator(":focus").ariaSnapshot();
  return snapshot.replace(/^- /, "").trim();
}

/** Presses Tab until the focus is on what has this role and name; answers the stops on the way. */
async function tabTo(page, role, name) {
  const stops = [];
  const wanted = page.getByRole(role, { name, exact: true });
  for (let presses = 0; presses < 40; presses++) {
    const focus = page.locator(":focus");
    if ((await focus.count()) === 1) {
      stops.push(await focused(page));
      if (await wanted.evaluate((element) => element === element.ownerDocument.activeElement)) return stops;
    }
    await page.keyboard.press("Tab");
  }
  throw new Error(`no Tab leads to the ${role} “${name}”; it stops at ${stops.join(" | ")}`);
}

await outcome(async (told) => {
  const context = await chromium.launchPersistentContext(told.profile, {
    executablePath: told.chromium,
    args: FLAGS,
    javaScriptEnabled: false,
    viewport: { width: 900, height: 900 },
  });
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    const pages = [];
    const look = async (name) => {
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        await page.screenshot({ path: join(told.screenshots, `${name}-${colorScheme}.png`), fullPage: true });
      }
      // Text of 200 % must not need scrolling in two directions (WCAG 1.4.10).
      await page.setViewportSize({ width: 320, height: 640 });
      await page.screenshot({ path: join(told.screenshots, `${name}-narrow.png`), fullPage: true });
      await page.setViewportSize({ width: 900, height: 900 });
      const seen = { name, title: await page.title(), lang: await page.locator("html").getAttribute("lang") };
      seen.aria = await page.locator("body").ariaSnapshot();
      pages.push(seen);
      return seen;
    };

    await page.goto(told.start);
    await page.getByRole("heading", { name: "Sign in", level: 1 }).waitFor();
    await look("sign-in");
    await page.getByLabel("User name", { exact: true }).waitFor();
    await tabTo(page, "textbox", "User name");
    await page.keyboard.type(told.username);
    await page.keyboard.press("Tab");
    await page.keyboard.type("not the password");
    await page.keyboard.press("Enter");

    await page.getByRole("alert").waitFor();
    const refused = await look("sign-in-refused");
    refused.focus = await focused(page);
    await tabTo(page, "textbox", "Password");
    await page.keyboard.type(told.password);
    await page.keyboard.press("Enter");

    await page.getByRole("button", { name: "Allow" }).waitFor();
    const consent = await look("consent");
    consent.stops = await tabTo(page, "button", "Allow");
    // Nothing listens at the application's address: what matters is that the browser goes there.
    const [answer] = await Promise.all([
      page.waitForRequest((request) => request.url().startsWith(told.redirect_uri)),
      page.keyboard.press("Enter"),
    ]);
    return { landed: answer.url(), pages };
  } finally {
    await context.close();
  }
});
